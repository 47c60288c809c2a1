"""Kinds of files that can be removed from an outputs folder, and files of such a kind."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from lmlab.runs.run import Run, Status

Kind = Literal["checkpoints", "wandb", "caches", "failed", "weights", "runs"]

KINDS = get_args(Kind)

DESCRIPTIONS: dict[Kind, str] = {
    "checkpoints": "states that finished runs would resume from",
    "wandb": "W&B's files of runs that W&B has in full",
    "caches": "prepared data that no run uses, caches of logs, temporary files",
    "failed": "failed runs",
    "weights": "weights of finished runs",
    "runs": "whole runs",
}
USUAL: tuple[Kind, ...] = ("checkpoints", "wandb", "caches", "failed")
"""Kinds that are offered where none is chosen: finished runs can still be evaluated, continued and reproduced."""
NOT_OF_RUNS: tuple[Kind, ...] = ("caches",)
"""Kinds that no selection of runs applies to."""


@dataclass(frozen=True)
class Item:
    """Files and folders that are removed together.

    Attributes:
        paths: what is removed.
        bytes: what that frees.
        run, status: whose lock is held meanwhile, and the status that the run must still have then.
        lock: a file that is locked meanwhile.
    """

    kind: Kind
    paths: tuple[Path, ...]
    bytes: int
    run: Run | None = None
    status: Status | None = None
    lock: Path | None = None


@dataclass(frozen=True)
class Kept:
    """Something that is left alone, by name, and why."""

    name: str
    why: str


@dataclass
class Plan:
    """The items to remove, and those that are kept with the reason."""

    items: list[Item] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def add(self, entry: "Item | Kept") -> None:
        """Add either."""
        if isinstance(entry, Item):
            self.items.append(entry)
        else:
            self.kept.append(entry)

    def within(self, other: "Plan") -> "Plan":
        """Return a plan of the items that ``other`` has as well."""
        paths = {path for item in other.items for path in item.paths}
        return Plan([item for item in self.items if paths.issuperset(item.paths)], self.kept)
