"""Numbers and names of a report's tables and figures, the same in every form it is written in."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from lmlab.analysis.report.document import Chart, Document, Part, Section, Table


@dataclass(frozen=True)
class Placed:
    """A part in its place: its name, unique in the report and fit for a file, and its label (``Figure 3``) or ""."""

    part: Part
    name: str
    label: str


def placed(document: Document) -> Iterator[tuple[Section, str, list[Placed]]]:
    """Every section with its name and its parts."""
    taken: Counter[str] = Counter()
    figures = tables = 0
    for section in document.sections:
        name = _unique(f"section {section.title}", taken)
        parts = []
        for part in section.parts:
            if isinstance(part, Chart):
                figures += 1
                parts.append(Placed(part, _unique(part.name, taken), f"Figure {figures}"))
            elif isinstance(part, Table):
                tables += 1
                parts.append(Placed(part, _unique(part.name, taken), f"Table {tables}"))
            else:
                parts.append(Placed(part, "", ""))
        yield section, name, parts


def _unique(text: str, taken: Counter[str]) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
    taken[name] += 1
    return name if taken[name] == 1 else _unique(f"{name}-{taken[name]}", taken)
