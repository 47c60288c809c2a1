"""A whole report: its order, what it says on runs that lack everything, and that it grows with what is shown."""

import math
import time
from pathlib import Path

import pytest

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts import Doubt
from lmlab.analysis.report.content import SECTIONS, report
from lmlab.analysis.report.content.captions import ARMS_SHOWN, shown
from lmlab.analysis.report.content.loss_curves import loss_curves
from lmlab.analysis.report.document import Chart, Table


def test_what_a_report_begins_with(arm, compared, losses):
    arm("lstm", losses[0])
    arm("transformer", losses[1])
    doubt = Doubt(13, "too few seeds", "doubt", "five are few.", ["a", "b"])
    refusal = Doubt(2, "other data", "refuse", "not the same.", [])
    document = report(compared(), [doubt, refusal], {Path("runs/x"): "cannot be read"})
    assert document.title == "lstm and transformer on stdlib"
    assert document.conclusion == "These runs cannot be compared, so there is no conclusion: not the same."
    assert [note.text for note in document.doubts] == [
        "other data: not the same.",
        "too few seeds: five are few. (a and b)",
    ]
    assert document.about.startswith("10 runs of 2 arms, ") and document.about.endswith(", by lmlab 0.1.0")
    titles = [section.title for section in document.sections]
    assert titles == [
        "The arms",
        "Learning curves",
        "Samples",
        "Differences between the arms",
        "Number of seeds needed",
        "Every run",
        "Provenance",
        "Reproducing it",
        "Left out",
    ]
    assert document == report(compared(), [doubt, refusal], {Path("runs/x"): "cannot be read"})


def test_runs_that_recorded_next_to_nothing(arm, compared, losses):
    """As an older version or a crash may have left them: whatever is missing leaves out its part and no more."""
    bare = {"sizes": {}, "timings": {}, "provenance": {}, "data": {}, "training": {}, "choices": {"model": "lstm"}}
    for run in arm("lstm", losses[0], **bare):
        run.metrics.unlink()
        run.samples.unlink()
    comparison = compared()
    document = report(comparison, [], {})
    assert document.conclusion.startswith("On the validation split of unknown data, lstm reaches 1.500 [")
    assert [section.title for section in document.sections] == ["The arms", "Every run", "Reproducing it"]


def test_runs_whose_files_are_damaged_are_marked(arm, compared, losses):
    damaged, *_ = arm("lstm", losses[0])
    with damaged.metrics.open("a") as file:
        file.write('no row\n{"step": 9, "tok')
    document = report(compared(), [], {})
    (marked,) = document.doubts
    assert marked.text.startswith("damaged files: lstm-stdlib ")
    assert "skipped the last line, which is cut short" in marked.text
    assert "skipped 1 invalid lines" in marked.text


def test_every_score_diverged(arm, with_diverged):
    arm("lstm", {1: math.nan, 2: math.nan}, options={"optimizer.lr": 1.0})
    arm("lstm", {1: math.nan, 2: math.inf}, options={"optimizer.lr": 2.0})
    arm("lstm", {1: 1.4}, options={"optimizer.lr": 1e-3})
    arm("transformer", {1: 1.5, 2: 1.6})
    document = report(with_diverged(), [], {})
    assert "of lstm diverged, so a mean over seeds is meaningless" in document.conclusion


def test_nothing_at_all():
    document = report(Comparison("validation/loss", []), [], {})
    assert document.title == "No arms to compare" and not document.sections


def test_a_figure_shows_the_baseline_and_the_best_of_many_arms(arm, compared, chart):
    for number in range(ARMS_SHOWN + 5):
        arm(
            "lstm",
            {1: 2.0 - number / 100, 2: 2.0 - number / 100},
            options={"optimizer.lr": (number + 1) / 1000},
            points=5,
        )
    comparison = compared(arm=("optimizer.lr",), baseline="optimizer.lr=0.001")
    assert len(comparison.arms) == ARMS_SHOWN + 5
    names = [one.name for one in shown(comparison)]
    best = {f"optimizer.lr={(number + 1) / 1000:g}" for number in range(6, ARMS_SHOWN + 5)}
    assert names[0] == "optimizer.lr=0.001" and set(names[1:]) == best
    found = chart(loss_curves(comparison), "curve-train-loss")
    assert [series.name for series in found.series] == names
    assert "Shown are the baseline and the best 11 of the other 16 arms." in found.note


@pytest.mark.parametrize("make", SECTIONS, ids=lambda make: make.__name__)
def test_tables_and_charts_are_well_formed(make, arm, compared):
    for model, better in (("lstm", 0.0), ("transformer", 0.1)):
        for rate, cost in ((1e-3, 0.1), (3e-3, 0.0), (1e-2, 0.05)):
            losses = {seed: 1.5 + cost - better + seed / 1000 for seed in (1, 2)}
            arm(model, losses, options={"optimizer.lr": rate}, timings={"tokens": 1e6, "seconds": 10 + rate})
    section = make(compared())
    for part in section.parts if section else ():
        if isinstance(part, Table):
            assert part.rows and all(len(row) == len(part.columns) for row in part.rows)
            for column, cells in zip(part.columns, zip(*part.rows, strict=True), strict=True):
                numbers = [cell for cell in cells if isinstance(cell, (int, float))]
                assert all(column.form.format(number) for number in numbers)
        elif isinstance(part, Chart):
            assert part.series and part.summary.endswith(".") and all(series.y for series in part.series)


def test_a_report_of_many_runs_is_quick(arm, compared):
    for rate in range(1, 31):
        for model in ("lstm", "transformer"):
            arm(model, {1: 1.5 + rate / 1000, 2: 1.5}, options={"optimizer.lr": rate / 1000}, points=20)
    comparison = compared()
    report(comparison, [], {})  # imports the libraries
    began = time.process_time()
    report(comparison, [], {})
    assert time.process_time() - began < 2.0  # 0.2 s on two idle cores
