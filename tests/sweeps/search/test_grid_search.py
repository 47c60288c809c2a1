import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from lmlab.errors import UserError
from lmlab.sweeps.search import Grid, Space


@pytest.mark.parametrize(
    "words",
    [
        ["model=lstm,transformer", "seed=1,2,3", "budget.tokens=1000"],
        ["a=1,2", "b=range(3,0,-1)", "+c=choice(x,'y z')", "d=range(0,1,0.5)", "a=3,4,5", "e='p,q',[1,2],{a:1}"],
        ["a@b=1,2", "++c.d=null,1e-3"],
        ["a=1"],
    ],
)
def test_jobs_and_their_order_are_those_of_hydra(words, simulate, job):
    (expected,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    search = Grid(Space(words))
    record = simulate(search, lambda _: job({"validation/loss": 1.0}), parallel=3)
    assert [record.proposals[number].overrides for number in range(len(expected))] == expected
    assert len(record.proposals) == len(expected)


def test_an_interval_is_refused():
    with pytest.raises(UserError, match=r"optimizer\.lr: an interval has no list of values; give a list or a range"):
        Grid(Space(["optimizer.lr=interval(0,1)"]))


def test_the_best_is_the_lowest_finite_loss_and_what_was_interrupted_comes_again(simulate, job):
    search = Grid(Space(["a=1,2,3,4"]))
    first = search.ask()
    search.tell(first, "interrupted", {})
    losses = {"1": None, "2": float("nan"), "3": 2.0, "4": 1.5}
    record = simulate(search, lambda o: job(None if losses[o["a"]] is None else {"validation/loss": losses[o["a"]]}))
    assert record.proposals[0] == first and len(record.outcomes) == 4
    assert search.best() == [3]
