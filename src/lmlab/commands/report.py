"""``lmlab report``: from runs to a conclusion, with everything that it rests on, in one folder."""

import re
import shlex
import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.selection import select
from lmlab.commands import tables
from lmlab.config import Paths
from lmlab.errors import UserError

PACKAGES = ("scipy", "statsmodels", "jinja2", "plotly", "matplotlib")
"""What a report needs beyond what training needs."""


def task(
    paths: Paths,
    runs: str | list[str] | None,
    tag: str | None,
    where: dict[str, Any],
    arm: str | list[str] | None,
    metric: str | None,
    baseline: str | None,
    output: str | None,
) -> None:
    """Write the report and print its conclusion; exit code 1 if the runs do not compare."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise UserError(f"a report needs the package {package} (pip install 'lmlab[report]')")
    from lmlab.analysis.arms import compare_by

    records = select(paths, runs, tag, where)
    comparison = compare_by(records.found, _several(arm), metric, baseline)
    folder = Path(output).expanduser() if output else Path(paths["outputs"]) / "reports" / name_of(comparison)
    if _write(comparison, records.unreadable, folder, shlex.join(["lmlab", "report", *sys.argv[1:]])):
        sys.exit(1)


def write_report(
    comparison: Comparison, unreadable: Mapping[Path, str], folder: Path, command: str | None = None
) -> Path:
    """Write a comparison's report into ``folder``, print its conclusion, and return the path of the page.

    The folder then holds ``report.html``, ``report.md``, ``tables/*.tex`` and ``figures/*.{svg,pdf}``.

    Args:
        unreadable: what is wrong with run directories that could not be read, by path.
        command: what asks for it, as typed.

    Raises:
        UserError: a package is missing.
    """
    _write(comparison, unreadable, folder, command)
    return folder / "report.html"


def _write(comparison: Comparison, unreadable: Mapping[Path, str], folder: Path, command: str | None) -> bool:
    """Write and print a report, and return whether the comparison is refused."""
    from lmlab.analysis.doubts import examine
    from lmlab.analysis.report import figures, html, latex, markdown
    from lmlab.analysis.report.content import report

    doubts = examine(comparison)
    document = report(comparison, doubts, unreadable, command)
    folder.mkdir(parents=True, exist_ok=True)
    html.write(document, folder / "report.html")
    for form in (markdown, latex, figures):
        form.write(document, folder)
    tables.say(f"\n{document.conclusion}")
    for doubt in document.doubts:
        tables.say(doubt, "but:", "yellow")
    missing = len(comparison.left_out) + len(unreadable)
    if missing:
        tables.say(f"{missing} without a part in this; the report says why", "left out:", "yellow")
    tables.say(f"\nThe report: {folder / 'report.html'}   (report.md, tables/*.tex, figures/*.svg and *.pdf beside it)")
    tables.say(f"Next: {'   '.join(_next(comparison))}")
    return any(doubt.severity == "refuse" for doubt in doubts)


def _next(comparison: Comparison) -> list[str]:
    commands = ["lmlab dashboard"]
    datasets = sorted({name for run in comparison.runs if (name := run.choice("data"))})
    if len(datasets) > 1:
        commands.insert(0, f"lmlab report +where.data={datasets[0]}")
    if comparison.runs:
        commands.append(f"lmlab reproduce run={comparison.runs[0].id[:6]}")
    return commands


def name_of(comparison: Comparison) -> str:
    """What a report is called that nobody named: its arms, data and a hash of its runs; asking again replaces it."""
    every = [run for arm in comparison.arms for setting in arm.settings for run in setting.runs]
    arms = [arm.name for arm in comparison.arms]
    words = arms if len(arms) <= 3 else [arms[0], f"and-{len(arms) - 1}-others"]
    data = sorted({str(run.choice("data")) for run in every})
    runs = sorted(run.id for run in every) + [left.run for left in comparison.left_out] + [comparison.metric, *arms]
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join([*words, *data[:2]]).lower())[:80].strip("-.")
    return f"{slug or 'no-arms'}-{sha256(' '.join(runs).encode()).hexdigest()[:6]}"


def _several(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(one) for one in value]
