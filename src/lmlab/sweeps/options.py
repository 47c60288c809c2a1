"""Options common to all sweeps: paired values, and the number of failures after which to stop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab.config.overrides import written
from lmlab.errors import UserError


@dataclass(frozen=True)
class SweepOptions:
    """The section ``sweep`` of a configuration.

    Attributes:
        zipped: groups of options whose values are paired instead of combined.
        stop_after: number of failed jobs after which no further job starts; ``None``: all jobs start.
        search: options of the search; empty: every combination.
    """

    zipped: list[list[str]]
    stop_after: int | None
    search: dict[str, Any]

    @classmethod
    def read(cls, section: Mapping[str, Any] | None) -> "SweepOptions":
        """Read the section. Raises ``UserError`` for invalid values."""
        search = dict(section or {})
        zipped, stop_after = _groups(search.pop("zip", None)), search.pop("stop_after", None)
        whole = isinstance(stop_after, int) and not isinstance(stop_after, bool)
        if stop_after is not None and not (whole and stop_after >= 1):
            raise UserError(
                f"sweep.stop_after={written(stop_after)}: expected a number of failed jobs of at least 1, or null"
            )
        return cls(zipped, stop_after, search)

    @property
    def section(self) -> dict[str, Any]:
        """The section as recorded: without options at their default."""
        own: dict[str, Any] = {}
        if self.zipped:
            own["zip"] = self.zipped if len(self.zipped) > 1 else self.zipped[0]
        if self.stop_after is not None:
            own["stop_after"] = self.stop_after
        return {**self.search, **own}


def _groups(value: Any) -> list[list[str]]:
    """Return ``sweep.zip`` as groups of options. Raises ``UserError``."""
    if value is None or value == []:
        return []
    word = f"sweep.zip={written(value)}"
    groups = value if isinstance(value, list) and all(isinstance(one, list) for one in value) else [value]
    for group in groups:
        if not isinstance(group, list) or not all(isinstance(name, str) for name in group):
            raise UserError(
                f"{word}: expected options, as sweep.zip=[model.width,optimizer.lr], or several groups of them, as "
                "sweep.zip=[[model,optimizer.lr],[data,tokenizer]]"
            )
        if len(group) < 2:
            raise UserError(f"{word}: expected at least two options to pair")
    names = [name for group in groups for name in group]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{word}: {name} occurs twice")
    return groups
