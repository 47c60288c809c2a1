import shutil
from pathlib import Path

import numpy as np
import pytest
from compared_arms import score_on
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import write_run

from lmlab.analysis.comparison import compare, compare_by, comparison_of, default_metric
from lmlab.analysis.curves import thinned
from lmlab.analysis.options import varied
from lmlab.analysis.records import Record, read
from lmlab.config.nodes import at
from lmlab.config.overrides import written
from lmlab.errors import UserError
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run
from lmlab.sweeps.study import Study, trials_of_all
from lmlab.sweeps.sweep import Job, Sweep


@pytest.fixture
def records(tmp_path):
    for model, loss in (("lstm", 1.5), ("transformer", 1.4)):
        for lr in (1e-3, 3e-3):
            for seed in (1, 2, 3) if lr == 1e-3 else (1,):
                write_run(tmp_path / "runs", f"model={model}", seed=seed, loss=loss + lr, options={"optimizer.lr": lr})
    write_run(tmp_path / "runs", "model=gru", status="failed")
    write_run(tmp_path / "runs", "model=rnn", metrics={})
    return read(all_runs(tmp_path / "runs"))


def test_runs_are_sorted_into_arms_settings_and_seeds_and_none_is_averaged_in_silence(records):
    assert not records.unreadable
    comparison = compare(records.readable, "validation/loss", lambda record: record.choice("model"))
    assert {arm.name: sorted(len(s.runs) for s in arm.settings) for arm in comparison.arms} == {
        "lstm": [1, 3],
        "transformer": [1, 3],
    }
    assert all(arm.runs[0].config["optimizer"]["lr"] == 1e-3 for arm in comparison.arms)
    assert sorted(left.why.split(":")[0] for left in comparison.left_out) == ["has no validation/loss", "is failed"]
    assert sorted(left.arm for left in comparison.left_out) == ["gru", "rnn"]
    lstm = comparison.arms[0].representative
    assert list(lstm.scores("validation/loss")) == [1, 2, 3]
    assert lstm.runs[0].metric("timings/seconds") == 100.0
    assert lstm.runs[0].metric("sizes/parameters/total") == 1_000_000


def test_curves_have_every_axis_that_was_logged(records):
    curves = records.readable[0].curves
    tokens, loss = curves.curve("validation/loss")
    flops, same = curves.curve("validation/loss", "flops")
    assert np.array_equal(loss, same) and np.allclose(flops, tokens * 6e6)
    seconds, _ = curves.curve("validation/loss", "seconds")
    assert np.all(np.diff(seconds) > 0) and seconds[-1] == pytest.approx(100.0)
    assert curves.curve("validation/loss", "joules") is None
    assert curves.curve("validation/nothing") is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=400), st.integers(4, 60))
def test_a_thinned_curve_keeps_its_ends_and_extremes(values, points):
    y = np.array(values)
    x = np.arange(len(y), dtype=float)
    kept, found = thinned(x, y, points)
    assert len(kept) <= points
    assert (kept[0], kept[-1]) == (0, len(y) - 1)
    assert found.min() == y.min() and found.max() == y.max()
    assert np.array_equal(y[kept.astype(int)], found)


def test_a_score_that_is_no_number_is_not_averaged(tmp_path):
    for seed, loss in ((1, 1.5), (2, float("nan"))):
        write_run(tmp_path / "runs", "model=lstm", seed=seed, metrics={"validation/loss": loss})
    comparison = compare(read(all_runs(tmp_path / "runs")).readable, "validation/loss", lambda record: "lstm")
    assert [run.seed for run in comparison.runs] == [1]
    assert [left.why for left in comparison.left_out] == ["has validation/loss=nan"]


def made(folder, *runs):
    return read([write_run(folder / "runs", *overrides, **options) for overrides, options in runs]).readable


def test_repetitions_count_once_and_runs_that_diverged_are_left_out_by_name(tmp_path):
    records = made(
        tmp_path,
        (["model=lstm"], {"seed": 1}),
        (["model=lstm"], {"seed": 2}),
        (["model=gru"], {"seed": 1}),
        (["model=gru"], {"seed": 2, "metrics": {"validation/loss": float("nan")}}),
    )
    again = Run(records[0].run.path.with_name(records[0].run.path.name + "-2"))
    shutil.copytree(records[0].run.path, again.path)
    again.update(id=f"{records[0].id}-2", metrics={"validation/loss": 0.0})
    comparison = compare([Record.of(again), *records], "validation/loss")
    assert [(arm.name, len(arm.runs)) for arm in comparison.arms] == [("lstm", 2), ("gru", 1)]
    assert again not in [record.run for record in comparison.runs]
    assert [left.why.split(",")[0].split(":")[0] for left in comparison.left_out] == [
        "has validation/loss=nan",
        f"computes the same as {records[0].label} ({records[0].run.path.name})",
    ]
    with pytest.raises(UserError, match="did you mean 'validation/loss'"):
        compare(records, "validation/los")


def test_what_is_compared_by_what_where_nobody_says(tmp_path):
    task = {"data": {"licence": "generated"}, "metrics": {"validation/loss": 0.5, "validation/accuracy": 0.9}}
    tasks = made(tmp_path / "a", (["data=parity"], task), (["data=copying"], task))
    assert default_metric(tasks) == "validation/accuracy"
    comparison = compare(tasks)
    assert [arm.name for arm in comparison.arms] == ["lstm, parity", "lstm, copying"]
    runs = [(["model=lstm"], {"options": {"optimizer.lr": lr, "model.depth": d}}) for lr, d in ((1e-3, 1), (3e-3, 2))]
    by_option = made(tmp_path / "b", *runs, (["model=lstm"], {"status": "failed"}))
    comparison = compare(by_option)
    assert comparison.metric == "validation/bits_per_byte"
    assert [arm.name for arm in comparison.arms] == ["depth=1 lr=0.001", "depth=2 lr=0.003"]
    loss = {"metrics": {"validation/loss": 1}}
    only_loss = made(tmp_path / "c", (["model=lstm"], loss | {"seed": 1}), (["model=lstm"], loss | {"seed": 2}))
    assert default_metric([*only_loss, *by_option[:1]]) == "validation/loss"
    assert default_metric([]) == "validation/bits_per_byte" and compare([]).arms == []


def test_runs_on_several_local_texts_are_arms_of_their_own(tmp_path):
    def on(path, fingerprint):
        data = {"name": "text", "licence": "x", "fingerprint": fingerprint, "corpus_fingerprint": fingerprint}
        return ["model=lstm", "data=text", f"data.paths={path}"], {
            "data": data,
            "options": {"content": {"data": fingerprint}},
        }

    texts = made(tmp_path / "a", on("/x/a.txt", "1" * 64), on("/x/b.txt", "2" * 64))
    assert [arm.name for arm in compare(texts).arms] == ["lstm, a.txt", "lstm, b.txt"]
    alike = made(tmp_path / "b", on("/x/a.txt", "1" * 64), on("/y/a.txt", "2" * 64))
    assert [arm.name for arm in compare(alike).arms] == ["lstm, a.txt 111111", "lstm, a.txt 222222"]
    moved = made(tmp_path / "c", on("/x/a.txt", "1" * 64), on("/y/b.txt", "1" * 64))
    assert [arm.name for arm in compare(moved).arms] == ["lstm"], "one text is one text wherever it lies"


def test_settings_are_chosen_on_validation_whichever_split_is_concluded_on(tmp_path):
    for model in ("lstm", "gru"):
        for rate, loss, shift in ((1e-3, 1.4, 0.5), (3e-3, 1.6, 0.1)):
            for seed in (1, 2, 3):
                run = write_run(tmp_path, f"model={model}", seed=seed, loss=loss, options={"optimizer.lr": rate})
                if (model, seed) != ("gru", 3):
                    score_on(run, shift=shift)
    records = read(all_runs(tmp_path)).readable
    comparison = compare(records, "test/loss")
    assert (comparison.metric, comparison.selection_metric) == ("test/loss", "validation/loss")
    assert {run.config["optimizer"]["lr"] for run in comparison.runs} == {1e-3}, "the best on test is the other"
    assert {arm.name: [run.seed for run in arm.runs] for arm in comparison.arms} == {
        "lstm": [1, 2, 3],
        "gru": [1, 2],
    }
    (left,) = comparison.left_out
    assert left.record.seed == 3 and left.why.startswith("has no test/loss: lmlab evaluate run=")


def test_a_metric_of_a_callback_is_minimized_unless_said_otherwise(tmp_path):
    for rate, value in ((1e-3, 1.0), (3e-3, 2.0)):
        write_run(tmp_path, "model=lstm", options={"optimizer.lr": rate}, metrics={"validation/mine": value})
    records = read(all_runs(tmp_path)).readable

    def chosen(direction):
        comparison = compare(records, "validation/mine", lambda record: "lstm", direction)
        return comparison.arms[0].scores("validation/mine")

    assert (chosen(None), chosen("minimize"), chosen("maximize")) == ({1: 1.0}, {1: 1.0}, {1: 2.0})
    with pytest.raises(UserError, match="metric=validation/min: unknown .*'validation/mine'"):
        compare(records, "validation/min")


@pytest.fixture
def read_again(tmp_path):
    def found():
        return read(all_runs(tmp_path / "runs")).readable

    return found


def test_arms_are_what_differs_or_what_is_asked_for(tmp_path, read_again):
    for model in ("lstm", "transformer"):
        for rate in (1e-3, 3e-3):
            write_run(tmp_path / "runs", f"model={model}", options={"optimizer.lr": rate})

    def names(*arguments, **options):
        return [arm.name for arm in compare_by(read_again(), *arguments, **options).arms]

    assert names() == ["lstm", "transformer"]
    assert names(baseline="transformer") == ["transformer", "lstm"]
    assert set(names(["optimizer.lr"])) == {"optimizer.lr=0.001", "optimizer.lr=0.003"}
    assert set(names(["model", "optimizer.lr"])) == {
        f"{model} optimizer.lr={rate}" for model in ("lstm", "transformer") for rate in (0.001, 0.003)
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "bits_per_byte"}, "metric=bits_per_byte: unknown (did you mean 'validation/bits_per_byte'?)"),
        ({"arm": ["modle"]}, "arm=modle: none of these runs has this option (did you mean 'model'?)"),
        ({"baseline": "lstn"}, "baseline=lstn: unknown arm (did you mean 'lstm'?)"),
    ],
)
def test_what_there_is_not(tmp_path, read_again, options, message):
    for model in ("lstm", "transformer"):
        write_run(tmp_path / "runs", f"model={model}")
    with pytest.raises(UserError) as refused:
        compare_by(read_again(), **options)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (["model=transformer", "mixer=gru"], ["model=transformer", "mixer=min_gru"], ["mixer=gru", "mixer=min_gru"]),
        (["model=custom", "mixer=mamba2"], ["model=transformer"], ["mamba2", "transformer"]),
        (["model=lstm", "mixer=gru"], ["model=transformer", "mixer=gru"], ["gru", "transformer-gru"]),
        (["optimizer=sgd"], ["optimizer=adamw"], ["optimizer=sgd", "optimizer=adamw"]),
        (["tokenizer=byte"], ["tokenizer=character"], ["tokenizer=byte", "tokenizer=character"]),
        (["optimizer=sgd", "model.depth=1"], ["model.depth=2"], ["depth=1 optimizer=sgd", "depth=2 optimizer=adamw"]),
        (["optimizer.lr=1e-3"], ["optimizer.lr=3e-3"], ["lr=0.001", "lr=0.003"]),
    ],
)
def test_arms_are_called_by_the_options_that_were_chosen(tmp_path, first, second, names):
    runs = [write_run(tmp_path / "runs", *words) for words in (first, second)]
    assert [arm.name for arm in compare_by(read(runs).readable).arms] == names


def test_arms_of_runs_that_do_not_say_what_was_chosen_are_not_called_by_class_paths(tmp_path):
    runs = [write_run(tmp_path / "runs", f"mixer={mixer}", choices={"model": "lstm"}) for mixer in ("rnn", "gru")]
    assert [arm.name for arm in compare_by(read(runs).readable).arms] == ["mixer=RNN", "mixer=GRU"]


def test_an_option_that_follows_from_another_choice_does_not_vary_by_itself(tmp_path):
    words = [f"model={model} optimizer={name}" for model in ("lstm", "transformer") for name in ("sgd", "adamw")]
    runs = [write_run(tmp_path / "runs", *word.split(" ")) for word in words]
    assert varied(read(runs).readable) == ["model", "optimizer"]
    runs.append(write_run(tmp_path / "runs", "model=lstm", "optimizer=sgd", "optimizer.lr=5", "model.head.bias=true"))
    assert varied(read(runs).readable) == ["model", "model.head.bias", "optimizer", "optimizer.lr"]


def test_what_varies_and_how_it_is_written():
    first = {"seed": 1, "paths": {"outputs": "a"}, "model": {"width": 8, "parameters": None}, "optimizer": {"lr": 1e-3}}
    second = {
        "seed": 2,
        "paths": {"outputs": "b"},
        "model": {"width": 9, "parameters": None},
        "optimizer": {"lr": 1e-3},
    }

    def varied_among(*configs):
        return varied([Record(Run(Path()), {"name": "a"}, config, "finished") for config in configs])

    assert varied_among(first, second) == ["model.width"]
    asked = [first | {"model": {"width": n, "parameters": f"{n}M"}} for n in (8, 9)]
    assert varied_among(*asked) == ["model.parameters"]  # the width follows from it
    assert at(first, "optimizer.lr") == 1e-3 and at(first, "optimizer.lr.x") is None
    assert [written(value) for value in (None, True, 1e-3, 10_000, "a")] == ["null", "true", "0.001", "10000", "a"]


STUDY = {
    "arms": {"transformer": ["model=transformer"], "lstm": ["model=lstm"], "gru": ["model=gru"]},
    "tune": {"optimizer.lr": "1e-3,3e-3"},
    "trials": 2,
    "seeds": [1, 2, 3],
    "metric": "validation/loss",
}


@pytest.fixture
def sweep(tmp_path):
    """A study in which nothing of an arm is finished, and of the others a trial and a final run went wrong."""
    jobs = []

    def job(phase, arm, seed, lr, **more):
        run = write_run(tmp_path / "runs", f"model={arm}", seed=seed, options={"optimizer.lr": lr}, **more)
        if phase == "final" and run.manifest["metrics"]:
            score_on(run, shift=1.0)
        status = more.get("status", "finished")
        words = [f"model={arm}", f"seed={seed}"]
        jobs.append(Job(len(jobs), words, f"{arm} {phase}", status, str(run.path), arm=arm, phase=phase))

    job("pilot", "lstm", 0, 5e-3)
    for lr in (1e-3, 3e-3):
        job("trial", "lstm", 0, lr, loss=1.5 + lr)
        job("trial", "transformer", 0, lr, status="failed" if lr == 1e-3 else "finished")
        job("trial", "gru", 0, 1e-3)  # the same draw twice: one run
    for seed in (3, 1, 2):
        job("final", "lstm", seed, 1e-3)
        job("final", "transformer", seed, 3e-3, metrics={} if seed == 2 else {"validation/loss": 1.0 + seed})
    jobs.append(
        Job(
            len(jobs), ["model=gru"], "gru final seed=1", "failed", error="model=gru: refused", arm="gru", phase="final"
        )
    )
    jobs.append(Job(len(jobs), ["model=gru"], "gru final seed=2", arm="gru", phase="final"))
    sweep = Sweep(tmp_path / "sweeps" / "study")
    sweep.begin(["experiment=x"], {}, {}, STUDY)
    sweep.write(jobs)
    sweep.end("finished")
    return sweep


def test_arms_are_those_declared_with_their_trials_and_the_final_runs_that_stand_for_them(sweep):
    comparison = comparison_of(sweep)
    assert (comparison.metric, comparison.selection_metric) == ("test/loss", "validation/loss")
    assert comparison.minimizes and comparison.study == Study.read(STUDY)
    transformer, lstm = comparison.arms
    assert (transformer.name, lstm.name) == ("transformer", "lstm")
    assert [run.seed for run in lstm.runs] == [1, 2, 3] and lstm.settings[-1] is lstm.representative
    trials = lstm.settings[:-1]
    assert [(run.seed, run.config["optimizer"]["lr"]) for setting in trials for run in setting.runs] == [
        (0, 1e-3),
        (0, 3e-3),
    ]
    assert transformer.scores("test/loss") == {1: 3.0, 3: 5.0} and len(transformer.settings) == 2
    assert {run.seed for run in comparison.runs} == {1, 2, 3}, "no score that something was chosen for"


def test_a_study_can_be_seen_by_another_metric_or_from_another_arm(sweep):
    comparison = comparison_of(sweep, metric="validation/loss", baseline="lstm")
    assert [arm.name for arm in comparison.arms] == ["lstm", "transformer"]
    assert comparison.metric == "validation/loss" and comparison.minimizes
    assert {run.seed for run in comparison.runs} == {1, 2, 3}, "no score that something was chosen for"
    assert [run.seed for run in comparison.arms[0].settings[0].runs] == [0], "trials stay settings of their own"
    accuracy = comparison_of(sweep, metric="test/accuracy")
    assert accuracy.selection_metric == "validation/accuracy" and not accuracy.minimizes
    for options, message in (
        ({"baseline": "lstn"}, r"baseline=lstn: unknown arm \(did you mean 'lstm'"),
        ({"metric": "test/los"}, r"metric=test/los: unknown \(did you mean 'test/loss'"),
        ({"direction": "maximize"}, "direction=maximize: expected minimize for test/loss"),
    ):
        with pytest.raises(UserError, match=message):
            comparison_of(sweep, **options)


def test_the_trial_of_the_chosen_setting_does_not_stand_beside_it(sweep):
    lstm = comparison_of(sweep).arms[1]
    assert len(lstm.settings) == 3
    other, chosen = lstm.distinct_settings
    assert chosen is lstm.representative and other.runs[0].config["optimizer"]["lr"] == 3e-3


def test_a_trial_is_no_repetition_of_its_setting_either_where_runs_are_compared_without_their_study(sweep, tmp_path):
    trials = trials_of_all(tmp_path / "sweeps")
    jobs = [job for job in sweep.jobs if job.path is not None]
    assert trials == {Path(job.path).name for job in jobs if job.phase == "trial"}, "no final run is one of them here"
    records = read(all_runs(tmp_path / "runs")).readable
    comparison = compare_by(records, ["model"], "validation/loss", trials=trials)
    lstm = next(arm for arm in comparison.arms if arm.name == "lstm")
    assert [run.seed for run in lstm.runs] == [1, 2, 3]
    seeds = sorted(run.seed for setting in lstm.settings for run in setting.runs)
    assert seeds == [0, 0, 1, 2, 3], "with the pilot and the other trial"
    (left,) = [left for left in comparison.left_out if left.is_trial and left.arm == "lstm"]
    assert left.record.seed == 0 and left.why == "is the trial by which a study chose this setting"
    gru = next(arm for arm in comparison.arms if arm.name == "gru")
    assert [run.seed for run in gru.runs] == [0], "trials alone are compared as they are"


def test_whatever_is_missing_is_named_with_its_reason(sweep):
    (unscored,) = [job.run for job in sweep.jobs if job.arm == "transformer" and job.run.manifest["seed"] == 2]
    left = {run.run.split(" run ")[0]: run.why for run in comparison_of(sweep).left_out if "gru" not in run.run}
    assert left == {
        "transformer, trial": "is failed: it has no result",
        "transformer, final": f"has no test/loss: lmlab evaluate run={unscored.id} split=test scores it",
    }
    gru = {run.run: run.why for run in comparison_of(sweep).left_out if "gru" in run.run}
    assert gru == {
        "gru, final run gru final seed=1": "model=gru: refused",
        "gru, final run gru final seed=2": "is waiting",
        "gru": "has no finished final run",
    }


def test_a_run_that_cannot_be_read_hides_no_other(sweep):
    (sweep.jobs[-3].run.path / "run.json").write_text("{")
    comparison = comparison_of(sweep)
    assert any("cannot be read" in run.why for run in comparison.left_out)
    assert [len(arm.runs) for arm in comparison.arms] == [2, 3] or [len(arm.runs) for arm in comparison.arms] == [1, 3]


def test_a_sweep_of_no_study_has_no_arms(tmp_path):
    sweep = Sweep(tmp_path / "other")
    sweep.begin(["-m"], {}, {})
    sweep.end("finished")
    with pytest.raises(UserError, match="not the sweep of a study"):
        comparison_of(sweep)


def test_without_a_test_split_a_study_concludes_where_it_has_chosen(sweep):
    for job in sweep.jobs:
        if job.path is not None:
            splits = {"train": {"tokens": 10}, "validation": {"tokens": 10}}
            job.run.update(data=job.run.manifest["data"] | {"splits": splits})
    comparison = comparison_of(sweep)
    assert comparison.metric == comparison.selection_metric == "validation/loss"
    assert comparison.arms[0].scores("validation/loss") == {1: 2.0, 3: 4.0}


def test_a_metric_of_a_callback_has_its_direction_and_no_test_split(tmp_path):
    sweep = Sweep(tmp_path / "sweep")
    sweep.begin(["experiment=x"], {}, {}, STUDY | {"metric": "validation/mine", "direction": "maximize"})
    run = write_run(tmp_path / "runs", "model=lstm", metrics={"validation/mine": 3.0})
    sweep.write([Job(0, ["model=lstm"], "lstm", "finished", str(run.path), arm="lstm", phase="final")])
    comparison = comparison_of(sweep)
    assert comparison.metric == "validation/mine" and not comparison.minimizes
    assert comparison.arms[0].scores("validation/mine") == {1: 3.0}
