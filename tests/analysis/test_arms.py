import pytest
from synthetic_runs import write_run

from lmlab.analysis.arms import compare_by
from lmlab.analysis.options import at, varied, written
from lmlab.analysis.records import read
from lmlab.errors import UserError
from lmlab.runs.lookup import all_runs


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
        ({"arm": ["modle"]}, "arm=modle: none of these runs has such an option (did you mean 'model'?)"),
        ({"baseline": "lstn"}, "baseline=lstn: there is no such arm (did you mean 'lstm'?)"),
    ],
)
def test_what_there_is_not(tmp_path, records, options, message):
    for model in ("lstm", "transformer"):
        write_run(tmp_path / "runs", f"model={model}")
    with pytest.raises(UserError) as refused:
        compare_by(records(), **options)
    assert str(refused.value) == message


def test_what_varies_and_how_it_is_written():
    first = {"seed": 1, "paths": {"outputs": "a"}, "model": {"width": 8, "parameters": None}, "optimizer": {"lr": 1e-3}}
    second = {
        "seed": 2,
        "paths": {"outputs": "b"},
        "model": {"width": 9, "parameters": None},
        "optimizer": {"lr": 1e-3},
    }
    assert varied([first, second]) == ["model.width"]
    asked = [first | {"model": {"width": n, "parameters": f"{n}M"}} for n in (8, 9)]
    assert varied(asked) == ["model.parameters"]  # the width follows from it
    assert at(first, "optimizer.lr") == 1e-3 and at(first, "optimizer.lr.x") is None
    assert [written(value) for value in (None, True, 1e-3, 10_000, "a")] == ["null", "true", "0.001", "10000", "a"]
