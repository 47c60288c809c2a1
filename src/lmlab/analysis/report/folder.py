"""A report's folder: the page, and the same as Markdown, LaTeX tables and figures."""

import re
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.document import Document
from lmlab.errors import UserError

PACKAGES = ("scipy", "jinja2", "plotly", "matplotlib")
"""What a report needs beyond what training needs."""

PAGE = "report.html"


def check_packages() -> None:
    """Raise ``UserError`` if a package is missing, which costs nothing yet."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise UserError(f"a report needs the package {package} (pip install 'lmlab[report]')")


def write(comparison: Comparison, unreadable: Mapping[Path, str], folder: Path, command: str | None = None) -> Document:
    """Write a comparison's report into ``folder`` and return what it says.

    The folder then holds ``report.html``, ``report.md``, ``tables/*.tex`` and ``figures/*.{svg,pdf}``.

    Args:
        unreadable: what is wrong with run directories that could not be read, by path.
        command: what asks for it, as typed.

    Raises:
        UserError: a package is missing.
    """
    check_packages()
    # They take a second to import, which asking for the names above need not.
    from lmlab.analysis.doubts import examine
    from lmlab.analysis.report import figures, html, latex, markdown
    from lmlab.analysis.report.content import report

    document = report(comparison, examine(comparison), unreadable, command)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        prefix=".writing-", dir=folder
    ) as temporary:  # interrupted, it leaves the last report whole
        whole = Path(temporary)
        for form in (figures, latex, markdown):
            form.write(document, whole)
        html.write(document, whole / PAGE)
        for path in [path for path in whole.rglob("*") if path.is_file()]:
            place = folder / path.relative_to(whole)
            place.parent.mkdir(exist_ok=True)
            path.replace(place)
    return document


def name_of(comparison: Comparison) -> str:
    """What a report is called that nobody named: its arms, data and a hash of its runs; asking again replaces it."""
    every = [run for arm in comparison.arms for setting in arm.settings for run in setting.runs]
    arms = [arm.name for arm in comparison.arms]
    words = arms if len(arms) <= 3 else [arms[0], f"and-{len(arms) - 1}-others"]
    data = sorted({str(run.choice("data")) for run in every})
    runs = sorted(run.id for run in every) + [left.run for left in comparison.left_out] + [comparison.metric, *arms]
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join([*words, *data[:2]]).lower())[:80].strip("-.")
    return f"{slug or 'no-arms'}-{sha256(' '.join(runs).encode()).hexdigest()[:6]}"
