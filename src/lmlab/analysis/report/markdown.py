"""A report as Markdown (GitHub's flavour), readable as plain text, in a pull request or in a wiki."""

import re
from pathlib import Path
from textwrap import indent

from lmlab.analysis.report import cells
from lmlab.analysis.report.cells import COPIED, SHOWN, clipped, visible
from lmlab.analysis.report.document import Chart, Code, Document, Placed, SideBySide, Table, Text, placed

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+.!|~$&@:-])")


def write(document: Document, folder: Path) -> None:
    """Write ``report.md`` into the folder; ``figures.write`` writes its figures there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text(document), encoding="utf-8")


def text(document: Document) -> str:
    """Return the report as Markdown."""
    blocks = [f"# {_line(document.title)}", f"**{_line(document.conclusion)}**"]
    if document.doubts:
        blocks.append("## Doubts")
        for doubt in document.doubts:
            blocks.append(f"- {_line(doubt.text)}")
            if doubt.commands:
                blocks.append(indent(_fence("\n".join(doubt.commands), COPIED), "  "))
    elif document.doubts is not None:
        blocks.append("No doubts: none of the checks found a reason not to believe this.")
    for section, _, parts in placed(document):
        blocks.append(f"## {_line(section.title)}")
        for place in parts:
            blocks += _part(place)
    return "\n\n".join([*blocks, *([_line(document.about)] if document.about else [])]) + "\n"


def _part(place: Placed) -> list[str]:
    match place.part:
        case Text(paragraph):
            return ["  \n".join(_line(line) for line in visible(paragraph).split("\n"))]
        case Code(source):
            return [_fence(source)]
        case SideBySide(texts):
            return [block for heading, source in texts.items() for block in (f"### {_line(heading)}", _fence(source))]
        case Table() as table:
            note = [_line(table.note)] if table.note else []
            return [f"**{place.label}.** {_line(table.title)}", _table(table), *note]
        case Chart() as chart:
            image = f"![{_line(chart.summary)}](figures/{place.name}.svg)"
            note = [_line(chart.note)] if chart.note else []
            return [f"**{place.label}.** {_line(chart.title)}", image, *note]


def _table(table: Table) -> str:
    headings = [_line(f"{c.heading} ({c.unit})" if c.unit else c.heading) for c in table.columns]
    rules = ["---:" if is_number else "---" for is_number in cells.numeric(table)]
    rows = []
    for index, row in enumerate(table.rows):
        texts = [_line(cells.written(cell, column)) for cell, column in zip(row, table.columns, strict=True)]
        rows.append([f"**{text}**" if index in c.best else text for text, c in zip(texts, table.columns, strict=True)])
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, rules, *rows])


def _line(source: str) -> str:
    """Return a text on one line, with special characters escaped."""
    head, rest = clipped(source)
    more = f" [{len(rest):,} characters more]" if rest else ""
    return " ".join(_SPECIAL.sub(r"\\\1", head + more).split())


def _fence(source: str, length: int = SHOWN) -> str:
    """Return a block of code, in a fence longer than any in the text."""
    head, rest = clipped(source, length)
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", head)), default=0))
    more = f"\n\n*{len(rest):,} characters more.*" if rest else ""
    return f"{ticks}text\n{head}\n{ticks}{more}"
