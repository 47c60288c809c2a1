from pathlib import Path

import pytest
from synthetic_runs import write_run

from lmlab.analysis.arms import compare_by
from lmlab.analysis.options import varied
from lmlab.analysis.records import Record, read
from lmlab.config import at
from lmlab.errors import UserError
from lmlab.overrides import written
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run


@pytest.fixture
def records(tmp_path):
    def found():
        return read(all_runs(tmp_path / "runs")).found

    return found


def test_arms_are_what_differs_or_what_is_asked_for(tmp_path, records):
    for model in ("lstm", "transformer"):
        for rate in (1e-3, 3e-3):
            write_run(tmp_path / "runs", f"model={model}", options={"optimizer.lr": rate})

    def names(*arguments, **options):
        return [arm.name for arm in compare_by(records(), *arguments, **options).arms]

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
def test_what_there_is_not(tmp_path, records, options, message):
    for model in ("lstm", "transformer"):
        write_run(tmp_path / "runs", f"model={model}")
    with pytest.raises(UserError) as refused:
        compare_by(records(), **options)
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
    assert [arm.name for arm in compare_by(read(runs).found).arms] == names


def test_arms_of_runs_that_do_not_say_what_was_chosen_are_not_called_by_class_paths(tmp_path):
    runs = [write_run(tmp_path / "runs", f"mixer={mixer}", choices={"model": "lstm"}) for mixer in ("rnn", "gru")]
    assert [arm.name for arm in compare_by(read(runs).found).arms] == ["mixer=RNN", "mixer=GRU"]


def test_an_option_that_follows_from_another_choice_does_not_vary_by_itself(tmp_path):
    words = [f"model={model} optimizer={name}" for model in ("lstm", "transformer") for name in ("sgd", "adamw")]
    runs = [write_run(tmp_path / "runs", *word.split(" ")) for word in words]
    assert varied(read(runs).found) == ["model", "optimizer"]
    runs.append(write_run(tmp_path / "runs", "model=lstm", "optimizer=sgd", "optimizer.lr=5", "model.head.bias=true"))
    assert varied(read(runs).found) == ["model", "model.head.bias", "optimizer", "optimizer.lr"]


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
