"""A metric that lmlab does not know decides wherever runs are shown, compared and chosen, because they record it.

Its best runs have the worst losses.
"""

import json
import math
import os

import pytest
from dashboards import URL, Growing, ask
from synthetic_runs import EXACT_MATCH, write_run

from lmlab.analysis.comparison import compare, comparison_of
from lmlab.analysis.records import Record, read
from lmlab.analysis.report.content import report
from lmlab.analysis.report.content.loss_curves import loss_curves
from lmlab.commands import progress_table, results, runs, sweep, tables
from lmlab.commands.by_arm import show_by_arm
from lmlab.errors import UserError
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lookup import all_runs
from lmlab.sweeps.search import Grid, Space
from lmlab.sweeps.search.study import StudySearch
from lmlab.sweeps.study import Study
from lmlab.sweeps.sweep import Job, Sweep

METRIC = "validation/exact_match"
SCORES = {"gru": (0.25, 0.3125), "lstm": (0.75, 0.875), "rnn": (math.nan,)}


def write(folder, model, seed, score, **more):
    """Write a run with that score, as it ended and, half as high, on its way."""
    metrics = {METRIC: score, "validation/loss": 1 + score} if more.get("status", "finished") == "finished" else {}
    fields = {"metrics": metrics, "measures": EXACT_MATCH.to_record(), "timings": {"tokens": 10}} | more
    run = write_run(folder / "runs", f"model={model}", "data=stdlib", seed=seed, points=2, **fields)
    rows = [{"step": step, "tokens": 10 * step, METRIC: score * step / 2} for step in (1, 2)]
    run.metrics.write_text("".join(json.dumps(row | {"train/loss": 2.0}) + "\n" for row in rows))
    return run


@pytest.fixture
def written(tmp_path):
    """The runs by their names, the worst first."""
    return {
        f"{model}{seed}": write(tmp_path, model, seed, score)
        for model, scores in SCORES.items()
        for seed, score in enumerate(scores)
    }


def names(listed, written):
    """The names of runs, in the order of their paths in a text or a list."""
    places = {name: str(listed).find(str(run.path)) for name, run in written.items()}
    return sorted((name for name in places if places[name] >= 0), key=places.__getitem__)


def test_runs_are_listed_with_its_heading_and_sorted_best_first(written, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tables.console, "_width", 300)  # headings on one line
    paths = {"outputs": str(tmp_path), "runs": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")}
    options = {"name": None, "status": None, "tag": None, "where": {}, "limit": None}

    def listed(sort, descending=None, format="paths"):
        runs.main(paths, None, **options, sort=sort, descending=descending, format=format)
        return capsys.readouterr().out

    best_first = ["lstm1", "lstm0", "gru1", "gru0", "rnn0"]
    assert names(listed(METRIC), written) == names(listed("exact_match"), written) == best_first
    assert names(listed("exact_match", descending=False), written) == ["gru0", "gru1", "lstm0", "lstm1", "rnn0"]
    assert names(listed("loss"), written)[:2] == ["gru0", "gru1"]
    rows = json.loads(listed("exact_match", format="json"))
    assert [row["exact_match"] for row in rows] == [0.875, 0.75, 0.3125, 0.25, "NaN"]
    assert "bits_per_byte" not in rows[0] and rows[0]["measures"] == EXACT_MATCH.to_record()
    table = listed("created", format="table")
    assert "exact match" in table and "87.5%" in table and "bits/byte" not in table


def test_a_sweep_is_shown_by_it(written, tmp_path, capsys):
    running = write(tmp_path, "transformer", 1, 0.5, status="running")
    growing = Growing(running)
    Heartbeat("training", 1, 2, metrics={METRIC: 0.5}).write(running)
    record = Sweep(tmp_path / "sweeps" / "s")
    record.begin([], {}, {})
    done = [*written.values()]
    jobs = [Job(number, [], status="finished", path=str(run.path)) for number, run in enumerate(done)]
    under_way = Job(len(jobs), [], status="running", path=str(running.path))
    record.write([*jobs, under_way])
    sweep.show(record)
    shown = capsys.readouterr().out
    assert "exact match" in shown and "87.5%" in shown and "50.0%" in shown and "bits/byte" not in shown
    table = progress_table.progress_table([under_way])
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns["validation exact match"] == ["50.0%"]
    growing.end()
    record.end("finished")
    results.show_side_by_side([run for run in done if "rnn" not in run.path.name])
    shown = capsys.readouterr().out
    assert names(shown, written) == ["lstm1", "lstm0", "gru1", "gru0"]
    by_arm, _, single = shown.partition("Single runs")
    assert by_arm.index("lstm") < by_arm.index("gru") and "28.1%" in by_arm and "exact match" in single


def test_arms_are_compared_by_it_and_diverged_ones_come_last(written, capsys):
    assert show_by_arm([Record.of(run) for run in written.values()], "the validation split")
    shown = capsys.readouterr().out
    assert shown.index("lstm") < shown.index("gru") < shown.index("rnn") and "81.2%" in shown


def test_the_dashboard_shows_it_and_draws_it_by_itself(written, tmp_path):
    client = pytest.importorskip("starlette.testclient", reason="needs the extra: pip install 'lmlab[report]'")
    from lmlab.dashboard.app import build
    from lmlab.dashboard.index import Index

    attempt = {"started": "2026-01-01T00:00:00+00:00", "host": os.uname().nodename}
    growing = Growing(write(tmp_path, "transformer", 1, 0.5, status="running", attempts=[attempt]))
    Heartbeat("training", 1, 2, metrics={METRIC: 0.5}).write(growing.run)
    key = written["lstm1"].path.name
    with client.TestClient(build(Index(tmp_path)), base_url=URL) as page:
        answer = ask(page, lambda answer: answer["complete"] and answer["drawn"]["curves"].get(key), run=key)
    growing.end()
    assert answer["measures"]["primary"] == METRIC
    assert answer["measures"]["shown"] == [
        {"name": METRIC, "heading": "exact match", "better": "higher"},
        {"name": "validation/loss", "heading": "loss (nats/token)", "better": "lower"},
    ]
    assert answer["measures"]["compared"] == [METRIC, "validation/loss"]
    assert answer["runs"][key]["metrics"][METRIC] == {"value": 0.875, "text": "87.5%"}
    assert answer["runs"][growing.run.path.name]["metrics"] == {METRIC: {"value": 0.5, "text": "50.0%"}}
    assert METRIC not in answer["runs"][written["rnn0"].path.name]["metrics"]
    assert (answer["drawn"]["heading"], answer["drawn"]["falls"]) == ("validation exact match", False)
    assert answer["drawn"]["curves"][key]["y"] == [0.4375, 0.875]


def test_a_comparison_chooses_settings_and_concludes_by_it(written, tmp_path):
    for seed in (0, 1):  # a setting with as many seeds, a better loss and worse answers
        write(tmp_path, "lstm", seed, 0.5, options={"optimizer.lr": 1.0})
    records = read(all_runs(tmp_path / "runs")).readable
    comparison = compare(records)
    assert (comparison.metric, comparison.minimizes, comparison.heading) == (METRIC, False, "validation exact match")
    chosen = {arm.name: arm.scores(METRIC) for arm in comparison.arms}
    assert chosen == {"lstm": {0: 0.75, 1: 0.875}, "gru": {0: 0.25, 1: 0.3125}}
    assert [left.why for left in comparison.left_out] == [f"has {METRIC}=nan"]
    document = report(comparison, [], {})
    assert "lstm reaches 0.812 exact match against gru 0.281" in document.conclusion
    assert "0.531 [" in document.conclusion and "higher over 2 paired seeds" in document.conclusion
    scores = document.sections[0].parts[0].columns[2]
    assert (scores.heading, scores.better) == ("exact match", "higher")
    assert loss_curves(comparison).parts[0].y.label == "validation exact match"
    with pytest.raises(UserError, match="metric=validation/exact_mach: unknown .*'validation/exact_match'"):
        compare(records, "validation/exact_mach")


def test_a_study_without_a_metric_chooses_by_it(written, tmp_path):
    section = {"arms": {"lstm": ["model=lstm"], "gru": ["model=gru"]}, "tune": {"x": "1,2"}, "seeds": [1]}
    study = Study.read(section)
    candidates = {arm: study.candidates(arm, []) for arm in study.arms}
    search = StudySearch(study, candidates, None, study.selection_metric(EXACT_MATCH), study.better(EXACT_MATCH))
    for score in (0.25, 0.5, 0.75, math.nan):
        search.tell(search.ask(), "finished", {METRIC: score, "validation/loss": score})
    assert search.winners == {"lstm": 1, "gru": 0}
    record = Sweep(tmp_path / "sweeps" / "study")
    record.begin(["experiment=x"], {}, {}, study.section)
    ended = [("lstm", written["lstm1"]), ("gru", written["gru1"])]
    jobs = [Job(n, [], "", "finished", str(run.path), arm=arm, phase="final") for n, (arm, run) in enumerate(ended)]
    record.write(jobs)
    record.end("finished")
    comparison = comparison_of(record)
    assert (comparison.selection_metric, comparison.minimizes) == (METRIC, False)
    assert comparison.metric == "test/exact_match", "the data have a test split"


def test_a_search_takes_what_has_most_of_it(written):
    search = Grid(Space(["model=gru,lstm,rnn"]))
    for run in (written["gru1"], written["lstm0"], written["rnn0"]):
        search.tell(search.ask(), "finished", run.manifest["metrics"], run.path)
    assert search.best() == [1] and search.costs == {0: -0.3125, 1: -0.75, 2: math.inf}


def test_optuna_maximizes_it_and_prunes_what_has_less(tmp_path):
    pytest.importorskip("optuna")
    from lmlab.sweeps.search.optuna import Optuna

    options = {"trials": 3, "pruner": "median", "pruner_options": {"n_startup_trials": 1}}
    search = Optuna(Space(["x=interval(0,1)"]), tmp_path / "sweep", measures=lambda: EXACT_MATCH, **options)
    assert search.objectives == {METRIC: "maximize"}
    first, worse, better = (search.ask() for _ in range(3))

    def row(score):
        return [{"step": 1, "tokens": 10, METRIC: score, "validation/loss": score}]

    assert search.watch(first, row(0.5)) is None
    search.tell(first, "finished", {METRIC: 0.5})
    assert search.watch(worse, row(0.25)).startswith(f"{METRIC}=0.2500 after 10 tokens")
    search.tell(worse, "pruned", {})
    assert search.watch(better, row(0.75)) is None
    search.tell(better, "finished", {METRIC: 0.75})
    assert search.best() == [2]
