"""What the models write, side by side."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.ranking import of_those_shown, shown
from lmlab.analysis.report.document import Section, SideBySide, Text
from lmlab.runs.files import read_jsonl


def samples(comparison: Comparison) -> Section | None:
    """The newest text of each arm's first run that wrote one; generated tasks have nothing to read."""
    texts = {}
    for arm in shown(comparison):
        found = (
            (run, text)
            for run in arm.chosen.runs
            if run.manifest.get("data", {}).get("licence") != "generated" and (text := _newest(run))
        )
        if first := next(found, None):
            run, text = first
            heading = arm.name if arm.name == run.label else f"{arm.name} (seed {run.seed}, {run.label})"
            texts[heading] = text
    if not texts:
        return None
    note = "The last sample of the first seed of each arm, unchosen: one text says little about a model."
    return Section("Samples", [Text(note + of_those_shown(comparison)), SideBySide(texts)])


def _newest(run: Record) -> str | None:
    try:
        rows = read_jsonl(run.run.samples)
    except ValueError:
        return None
    return _printable(str(rows[-1]["text"])) if rows else None


def _printable(text: str) -> str:
    """Without control characters, which no page can show."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
