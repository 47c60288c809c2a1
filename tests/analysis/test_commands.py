"""Commands about runs: what asked for them, and the same with other options."""

from dataclasses import replace

import pytest
from synthetic_runs import write_run

from lmlab.analysis.commands import command_of, report_with, score_with, train_again, train_with
from lmlab.analysis.comparison import compare
from lmlab.analysis.records import Record
from lmlab.sweeps.sweep import Job, Sweep


@pytest.fixture
def swept(tmp_path):
    """Two models with two seeds each, as a sweep computed them, and its directory."""
    sweep = Sweep(tmp_path / "sweeps" / "2026-11-29_10-00-00-000000")
    sweep.path.mkdir(parents=True)
    words = ["--config-dir=/conf", "-m", "model=lstm,gru", "seed=1,2", "budget.tokens=640"]
    runs, jobs = [], []
    for model in ("lstm", "gru"):
        for seed in (1, 2):
            run = write_run(tmp_path / "runs", f"model={model}", seed=seed, sweep=sweep.path.name)
            runs.append(Record.of(run))
            own = [f"model={model}", f"seed={seed}", "budget.tokens=640"]
            jobs.append(Job(len(jobs), own, status="finished", path=str(run.path)))
    sweep.begin(words, {}, {})
    sweep.write(jobs)
    sweep.end("finished")
    return runs, sweep


def test_runs_of_a_sweep_share_a_command(swept):
    runs, sweep = swept
    comparison = compare(runs)
    assert command_of(runs[0]) == sweep.command
    more = "lmlab train --config-dir=/conf -m model=lstm,gru budget.tokens=640 seed=3,4"
    assert train_with(comparison, runs, "seed=3,4") == [more.replace("--config-dir=/conf -m", "-m --config-dir=/conf")]
    assert train_with(comparison, runs[:1], "optimizer.lr=1e-3") == [
        "lmlab train --config-dir=/conf model=lstm seed=1 budget.tokens=640 optimizer.lr=1e-3"
    ]
    # Not every combination was there: the commands together ask for no other.
    assert train_with(comparison, [runs[0], runs[3]], "budget.tokens=10") == [
        "lmlab train --config-dir=/conf model=lstm seed=1 budget.tokens=10",
        "lmlab train --config-dir=/conf model=gru seed=2 budget.tokens=10",
    ]


def test_training_again_removes_what_is_there(swept):
    runs, _ = swept
    removal, command = train_again(compare(runs), runs[:2])
    assert removal == f"lmlab clean what=runs runs={runs[0].id},{runs[1].id}"
    assert command == "lmlab train -m --config-dir=/conf model=lstm seed=1,2 budget.tokens=640"


def test_commands_look_for_runs_where_the_report_found_them(swept):
    runs, _ = swept
    comparison = replace(compare(runs), command=("lmlab", "report", "metric=test/loss", "paths.outputs=/a b"))
    assert (
        score_with(comparison, runs[:1], "test") == f"lmlab evaluate run={runs[0].id} split=test 'paths.outputs=/a b'"
    )
    assert train_again(comparison, runs[:1])[0].endswith(f" runs={runs[0].id} 'paths.outputs=/a b'")


def test_runs_of_a_study_are_those_of_its_command(swept):
    runs, sweep = swept
    sweep.begin([], {}, {}, study={})
    sweep.end("finished")
    comparison = replace(compare(runs), study={})
    sweep.path.joinpath("sweep.json").write_text(
        sweep.path.joinpath("sweep.json").read_text().replace('"-m"', '"experiment=recall"')
    )
    (command,) = train_with(comparison, runs, "study.seeds=[1,2,3]")
    assert command.startswith("lmlab study ") and command.endswith("'study.seeds=[1,2,3]'")
    (again,) = train_again(comparison, runs[:1])
    assert again.startswith("lmlab study ") and again.endswith(" rerun=true")


@pytest.mark.parametrize(
    ("typed", "repaired"),
    [
        (["seed=1", "model=gru", "seed=2"], "model=gru seed=2 optimizer.lr=3e-3"),
        (["tags=[a]", "tags+=b", "tags+=c", "++seed=3"], "'tags=[a]' tags+=b tags+=c ++seed=3 optimizer.lr=3e-3"),
        (["tags+=b", "tags=[a]", "optimizer.lr=1", "optimizer.lr=2"], "'tags=[a]' optimizer.lr=3e-3"),
    ],
)
def test_of_two_values_of_an_option_the_last_one_remains(tmp_path, typed, repaired):
    run = write_run(tmp_path / "runs", "model=lstm")
    run.update(provenance=run.manifest["provenance"] | {"command": ["lmlab", *typed]})
    record = Record.of(run)
    assert train_with(compare([record]), [record], "optimizer.lr=3e-3") == [f"lmlab train {repaired}"]


def test_texts_with_commas_and_other_folders_stay_as_they_are(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    records = []
    for seed in (1, 2):
        command = ["lmlab", "model=lstm", f"seed={seed}", "data.paths=[a.txt,b.txt]"]
        run = write_run(tmp_path / "runs", "model=lstm", seed=seed)
        run.update(provenance=run.manifest["provenance"] | {"command": command, "directory": str(folder)})
        records.append(Record.of(run))
    assert train_with(compare(records), records, "budget.tokens=10") == [
        f"cd '{folder}' && lmlab train -m model=lstm seed=1,2 'data.paths=[a.txt,b.txt]' budget.tokens=10"
    ]


def test_what_was_reproduced_was_not_asked_for_by_train(tmp_path):
    run = write_run(tmp_path / "runs", "model=lstm")
    run.update(provenance=run.manifest["provenance"] | {"command": ["lmlab", "run=3f9a"]})
    record = Record.of(run)
    assert command_of(record) == "lmlab reproduce run=3f9a"
    assert train_with(compare([record]), [record], "seed=2") == []


def test_the_report_with_other_options(tmp_path):
    comparison = compare([Record.of(write_run(tmp_path / "runs", "model=lstm"))])
    command = ("lmlab", "report", "metric=validation/loss", "baseline=a b")
    assert (
        report_with(replace(comparison, command=command), "metric=test/loss")
        == "lmlab report 'baseline=a b' metric=test/loss"
    )
