"""What has no part in the conclusion, and why."""

from collections.abc import Mapping
from pathlib import Path

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.document import Column, Section, Table


def left_out(comparison: Comparison, unreadable: Mapping[Path, str]) -> Section | None:
    """Runs that were asked for but cannot be averaged, and directories that cannot be read, each with its reason."""
    rows = [[left.run, left.arm, left.why] for left in comparison.left_out]
    rows += [[path.name, None, why] for path, why in unreadable.items()]
    if not rows:
        return None
    columns = [Column("run"), Column("arm"), Column("why")]
    return Section("Left out", [Table("left-out", "Runs without a part in this", columns, rows)])
