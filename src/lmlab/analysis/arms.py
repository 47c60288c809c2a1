"""Assignment of runs to arms, and the choice of the baseline arm."""

from collections.abc import Sequence
from dataclasses import replace

from lmlab.analysis.comparison import Comparison, compare
from lmlab.analysis.options import varied
from lmlab.analysis.records import Record
from lmlab.config import at
from lmlab.errors import UserError, nearest
from lmlab.overrides import written


def compare_by(
    records: Sequence[Record],
    arm: Sequence[str] = (),
    metric: str | None = None,
    baseline: str | None = None,
    direction: str | None = None,
) -> Comparison:
    """Sort records into arms, with the baseline first.

    Args:
        arm: groups (``model``) or options (``optimizer.lr``) whose values name an arm; empty: those that differ.
        metric, direction: see :func:`lmlab.analysis.comparison.compare`.
        baseline: the name of an arm; ``None``: that of the first run.

    Raises:
        UserError: no run has the option, or the metric or arm is unknown.
    """
    for key in arm:
        _check(key, records)
    comparison = compare(records, metric, (lambda record: arm_of(record, arm)) if arm else None, direction)
    names = [one.name for one in comparison.arms]
    if baseline is not None and baseline not in names:
        raise UserError(f"baseline={baseline}: unknown arm{nearest(baseline, names)}")
    return replace(comparison, arms=sorted(comparison.arms, key=lambda one: one.name != baseline))


def arm_of(record: Record, keys: Sequence[str]) -> str:
    """Return the name of a run's arm: ``lstm``, or ``optimizer.lr=0.001``; for a group, only the option's name."""
    return " ".join(record.choice(key) or f"{key}={written(at(record.config, key))}" for key in keys)


def _check(key: str, records: Sequence[Record]) -> None:
    """Raise ``UserError`` if no run has the option ``key``."""
    has = [record for record in records if record.choice(key) is not None or at(record.config, key) is not None]
    if records and not has:
        options = {*records[0].manifest.get("choices", {}), *varied(records)}
        raise UserError(f"arm={key}: none of these runs has this option{nearest(key, options)}")
