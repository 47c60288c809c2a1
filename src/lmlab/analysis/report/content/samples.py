"""Texts that the models generated, side by side."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import of_those_shown, shown
from lmlab.analysis.report.document import Section, SideBySide, Text
from lmlab.runs.files import read_jsonl
from lmlab.surroundings import printable


def samples(comparison: Comparison) -> Section | None:
    """Show the newest text of each arm's first run that has one; generated tasks have none to read."""
    texts = {}
    for arm in shown(comparison):
        texts_of_arm = ((run, text) for run in arm.runs if not run.is_task and (text := _newest(run)))
        if first := next(texts_of_arm, None):
            run, text = first
            heading = arm.name if arm.name == run.label else f"{arm.name} (seed {run.seed}, {run.label})"
            texts[heading] = text
    if not texts:
        return None
    note = "The last sample of the first seed of each arm, not hand-picked; one text says little about a model."
    return Section("Samples", [Text(note + of_those_shown(comparison)), SideBySide(texts)])


def _newest(run: Record) -> str | None:
    try:
        rows = read_jsonl(run.run.samples)
    except ValueError:
        return None
    return printable(str(rows[-1]["text"])) if rows else None
