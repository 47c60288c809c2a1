"""A report's folder: the page, and the report in other formats."""

import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.document import Document
from lmlab.errors import UserError, nearest

PAGE = "report.html"

FORMATS = {
    "html": PAGE,
    "markdown": "report.md and figures/*.svg",
    "latex": "tables/*.tex and figures/*.pdf",
    "svg": "figures/*.svg",
    "pdf": "figures/*.pdf",
    "png": "figures/*.png",
}
"""The files of each format."""

_FIGURES_OF = {"markdown": "svg", "latex": "pdf", "svg": "svg", "pdf": "pdf", "png": "png"}


def check_formats(formats: Collection[str]) -> None:
    """Raise ``UserError`` for an unknown format or one that needs a missing package. Imports nothing."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats={name}: expected {', '.join(FORMATS)}{nearest(name, FORMATS)}")
    if not formats:
        raise UserError(f"formats=[]: expected at least one of {', '.join(FORMATS)}")
    packages = ["scipy", "jinja2", "plotly"] + ["matplotlib"] * any(name in _FIGURES_OF for name in formats)
    for package in packages:
        if find_spec(package) is None:
            raise UserError(f"a report needs the package {package} (pip install 'lmlab[report]')")


def write(
    comparison: Comparison,
    unreadable: Mapping[Path, str],
    folder: Path,
    command: str | None = None,
    formats: Collection[str] = ("html",),
) -> Document:
    """Write a comparison's report into ``folder`` and return its content.

    Args:
        unreadable: errors of run directories that could not be read, by path.
        command: the command that asked for it, as typed.
        formats: keys of ``FORMATS``, which lists the files.

    Raises:
        UserError: a format is unknown, or a package is missing.
    """
    check_formats(formats)
    # These take a second to import, which is not needed for the names above.
    from lmlab.analysis.doubts import examine
    from lmlab.analysis.report.content import report

    document = report(comparison, examine(comparison), unreadable, command)
    write_document(document, folder, formats)
    return document


def write_document(document: Document, folder: Path, formats: Collection[str]) -> None:
    """Write a document into ``folder`` in some formats, which :func:`check_formats` has checked."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        prefix=".writing-", dir=folder
    ) as temporary:  # interrupted, it leaves the last report whole
        whole = Path(temporary)
        _write(document, whole, formats)
        for path in [path for path in whole.rglob("*") if path.is_file()]:
            place = folder / path.relative_to(whole)
            place.parent.mkdir(exist_ok=True)
            path.replace(place)


def _write(document: Document, folder: Path, formats: Collection[str]) -> None:
    if endings := {_FIGURES_OF[name] for name in formats if name in _FIGURES_OF}:
        from lmlab.analysis.report import figures

        figures.write(document, folder, sorted(endings))
    if "latex" in formats:
        from lmlab.analysis.report import latex

        latex.write(document, folder)
    if "markdown" in formats:
        from lmlab.analysis.report import markdown

        markdown.write(document, folder)
    if "html" in formats:
        from lmlab.analysis.report import html

        html.write(document, folder / PAGE)


def name_of(comparison: Comparison) -> str:
    """Return a report's default name: its arms, data and a hash of its runs, so that the next report replaces it."""
    every = comparison.all_runs
    arms = [arm.name for arm in comparison.arms]
    words = arms if len(arms) <= 3 else [arms[0], f"and-{len(arms) - 1}-others"]
    data = sorted({str(run.choice("data")) for run in every})
    runs = sorted(run.id for run in every) + [left.run for left in comparison.left_out] + [comparison.metric, *arms]
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join([*words, *data[:2]]).lower())[:80].strip("-.")
    return f"{slug or 'no-arms'}-{sha256(' '.join(runs).encode()).hexdigest()[:6]}"
