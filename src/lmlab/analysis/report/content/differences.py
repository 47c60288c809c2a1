"""Differences between the arms' configurations, and the properties held equal."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts import differences_between, held_equal
from lmlab.analysis.options import ABSENT
from lmlab.analysis.report.content.captions import data_of
from lmlab.analysis.report.document import Column, Part, Section, Table, Text
from lmlab.overrides import written


def differences(comparison: Comparison) -> Section | None:
    """List the properties that all arms share, and every option in which their chosen settings differ."""
    if len(comparison.arms) < 2:
        return None
    names = [arm.name for arm in comparison.arms]
    parts: list[Part] = []
    if equal := held_equal(comparison):
        rows = [[name, value] for name, value in equal.items()]
        parts.append(
            Table(
                "equal", f"Properties held equal, on {data_of(comparison)}", [Column("property"), Column("value")], rows
            )
        )
    else:
        parts.append(Text("Nothing was held equal."))
    differing = differences_between(comparison)
    if differing:
        values_of = [[option, *(written(values[name]) for name in names)] for option, values in differing]
        note = (
            f"Seeds and options that cannot change a result are left out. {ABSENT}: the arm does not have this option."
        )
        columns = [Column("option"), *map(Column, names)]
        parts.append(
            Table(
                "differences", f"Options in which the arms differ, on {data_of(comparison)}", columns, values_of, note
            )
        )
    else:
        parts.append(Text("The arms' configurations do not differ."))
    return Section("Differences between the arms", parts)
