"""A report as one self-contained HTML file: no server, no network, no other file.

Everything that came from runs is escaped by the template or lies in JSON without ``<``. A content security policy
allows the file's own scripts, by their hashes, and no request. plotly.js, from the package of plotly, is packed with
gzip and unpacked by the browser: 2.1 MB of the file instead of 4.8 MB, and absent from a report without charts.
"""

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path

from lmlab.analysis.report import cells, charts
from lmlab.analysis.report.document import Chart, Document, placed
from lmlab.errors import UserError


def write(document: Document, path: Path) -> None:
    """Write the report to ``path``.

    Raises:
        UserError: jinja2 or plotly is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(document), encoding="utf-8")


def page(document: Document) -> str:
    """Return the report as the text of an HTML file."""
    try:
        import jinja2
    except ImportError:
        raise UserError("the HTML report needs the package jinja2 (pip install 'lmlab[report]')") from None
    sections = list(placed(document))
    styles = charts.styles(document)
    drawn = {
        place.name: charts.as_json(place.part, styles)
        for _, _, parts in sections
        for place in parts
        if isinstance(place.part, Chart)
    }
    library, library_hash = _plotly() if drawn else ("", "")
    scripts = [file("charts.js"), file("page.js")]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(visible=cells.visible, clipped=cells.clipped, kind=lambda part: type(part).__name__)
    environment.globals.update(written=cells.written, number=cells.number, numeric=cells.numeric)
    return environment.from_string(file("page.html")).render(
        document=document,
        sections=sections,
        css=file("page.css"),
        scripts=scripts,
        hashes=[library_hash, *map(_hash, scripts)] if drawn else [*map(_hash, scripts)],
        charts=embedded(drawn),
        library=library,
    )


def embedded(value: object) -> str:
    """Return JSON for a ``<script>`` element, in which no character can end the element or break the encoding.

    Raises:
        ValueError: a number that is not finite.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def file(name: str) -> str:
    """Return the text of a file of this package: ``page.html``, ``page.css``, ``page.js`` or ``charts.js``."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> tuple[str, str]:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError("a report with charts needs the package plotly (pip install 'lmlab[report]')") from None
    source = get_plotlyjs()
    # A higher compression level takes three times as long for 3 % less.
    return base64.b64encode(gzip.compress(source.encode(), 4, mtime=0)).decode(), _hash(source)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
