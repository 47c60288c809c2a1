"""Content of a report by topic: each function turns a comparison into a section, or nothing if it does not apply."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts import Doubt
from lmlab.analysis.report.content.answers import answers, samples
from lmlab.analysis.report.content.arms import arms, differences
from lmlab.analysis.report.content.breakdown import breakdown
from lmlab.analysis.report.content.captions import data_of, listed
from lmlab.analysis.report.content.conclusion import conclusion
from lmlab.analysis.report.content.loss_curves import loss_curves
from lmlab.analysis.report.content.power import power
from lmlab.analysis.report.content.provenance import chain, commands, every_run, left_out, provenance
from lmlab.analysis.report.content.scaling import scaling
from lmlab.analysis.report.content.tasks import tasks
from lmlab.analysis.report.content.tradeoffs import tradeoffs
from lmlab.analysis.report.content.tuning import tuning
from lmlab.analysis.report.document import Document, Note
from lmlab.config.nodes import at
from lmlab.numerals import counted

SECTIONS = (
    arms,
    tasks,
    loss_curves,
    tuning,
    tradeoffs,
    scaling,
    breakdown,
    answers,
    samples,
    differences,
    power,
    chain,
    every_run,
    provenance,
)
"""Sections in reading order: the results, how they came about, what they depend on, and how to reproduce them."""


def report(
    comparison: Comparison, doubts: Sequence[Doubt], unreadable: Mapping[Path, str], command: str | None = None
) -> Document:
    """Return the report on a comparison.

    Args:
        doubts: reasons to doubt it.
        unreadable: errors of run directories that could not be read, by path.
        command: the command that asked for this report, as typed.
    """
    candidates = [make(comparison) for make in SECTIONS]
    candidates += [commands(comparison, command), left_out(comparison, unreadable)]
    notes = [*_written(doubts), *_marked(comparison)]
    sections = [section for section in candidates if section]
    refused = any(doubt.severity == "refuse" for doubt in doubts)
    return Document(title(comparison), conclusion(comparison, doubts), notes, sections, _about(comparison), refused)


def title(comparison: Comparison) -> str:
    """Return the question of a study, or ``lstm and transformer on stdlib``."""
    if question := getattr(comparison.study, "question", None):
        return str(question)
    names = listed([arm.name for arm in comparison.arms], most=4)
    return f"{names} on {data_of(comparison)}" if names else "No arms to compare"


def _written(doubts: Sequence[Doubt]) -> list[Note]:
    """Return the doubts as notes that name their runs; those that refuse the comparison come first."""
    ordered = sorted(doubts, key=lambda doubt: (doubt.severity != "refuse", doubt.number))
    return [Note(f"{doubt.name}: {doubt.text}{_about_runs(doubt)}", doubt.commands) for doubt in ordered]


def _marked(comparison: Comparison) -> list[Note]:
    """Return a note on damaged files of runs that are part of the comparison."""
    marked = [f"{run.label}: {problem}" for run in comparison.runs for problem in run.problems]
    return [Note(f"damaged files: {listed(marked, most=6)}.")] if marked else []


def _about_runs(doubt: Doubt) -> str:
    return f" ({listed(list(map(str, doubt.runs)), most=6)})" if doubt.runs else ""


def _about(comparison: Comparison) -> str:
    every = comparison.all_runs
    if not every:
        return "lmlab report"
    days = sorted(str(run.manifest.get("created", ""))[:10] for run in every)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    versions = sorted({str(at(run.manifest, "provenance.packages.lmlab")) for run in every})
    return (
        f"{counted(len(every), 'run')} of {counted(len(comparison.arms), 'arm')}, {when}, by lmlab {listed(versions)}"
    )
