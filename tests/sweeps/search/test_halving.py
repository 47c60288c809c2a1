from itertools import pairwise

import pytest

from lmlab.errors import UserError
from lmlab.sweeps.search import Halving, Space

SPACE = ["model=lstm", "x=interval(0,1)"]


def rungs_of(record):
    """The values tried at every budget, in order of budget."""
    rungs = {}
    for proposal in record.proposals.values():
        options = dict(word.split("=") for word in proposal.overrides)
        rungs.setdefault(int(options["budget.tokens"]), []).append(float(options["x"]))
    return dict(sorted(rungs.items()))


@pytest.mark.parametrize(
    ("trials", "factor", "rungs"), [(27, 3, None), (20, 3, None), (9, 2, 3), (5, 4, 1), (1, 2, None)]
)
@pytest.mark.parametrize("parallel", [1, 4])
def test_each_rung_has_exactly_the_best_of_the_one_below(trials, factor, rungs, parallel, simulate, job):
    def loss(x, tokens):  # not the same order at every budget
        return (x - 0.3) ** 2 + ((x * 7919 + tokens) % 1) * 0.1

    train = lambda o: job({"validation/loss": loss(float(o["x"]), int(o["budget.tokens"]))})  # noqa: E731
    search = Halving(Space(SPACE), tokens=100, trials=trials, factor=factor, rungs=rungs)
    record = simulate(search, train, parallel=parallel)
    found = rungs_of(record)
    sizes, spent = [], 0
    size, tokens = trials, 100
    while size >= 1 and (rungs is None or len(sizes) < rungs):
        sizes.append(size)
        spent += size * tokens
        size, tokens = size // factor, tokens * factor
    assert [len(values) for values in found.values()] == sizes
    assert sum(budget * len(values) for budget, values in found.items()) == spent
    assert sorted(record.proposals) == list(range(sum(sizes))) and record.totals == {sum(sizes)}
    budgets = list(found)
    for below, above in pairwise(budgets):
        ranked = sorted(found[below], key=lambda x: loss(x, below))
        assert sorted(found[above]) == sorted(ranked[: len(found[above])])
    (best,) = search.best()
    top = min(found[budgets[-1]], key=lambda x: loss(x, budgets[-1]))
    assert record.proposals[best].overrides == ["model=lstm", f"x={top!r}", f"budget.tokens={budgets[-1]}"]


def test_what_fails_in_a_rung_leaves_less_for_those_above(simulate, job):
    def train(options):
        return job(
            {"validation/loss": float(options["x"])} if options["budget.tokens"] != "10" or fine(options) else None
        )

    def fine(options):
        return float(options["x"]) < 0.3

    search = Halving(Space(SPACE), tokens=10, trials=16, factor=2)
    record = simulate(search, train, parallel=3)
    left = sum(fine(dict(word.split("=") for word in record.proposals[number].overrides)) for number in range(16))
    assert 1 < left < 8, "the draws"
    sizes = [16, *(min(size, left) for size in (8, 4, 2, 1))]
    assert len(record.proposals) == search.total == sum(sizes)
    assert max(record.totals) == 31 and min(record.totals) == search.total


def test_a_rung_waits_for_the_one_below(recorded):
    search = Halving(Space(SPACE), tokens=10, trials=4, factor=2)
    first = [search.ask() for _ in range(4)]
    assert search.ask() is None and not search.done
    for proposal, loss in zip(first[:3], (3.0, 2.0, 1.0), strict=True):
        search.tell(proposal, "finished", {"validation/loss": loss}, recorded)
    search.tell(first[3], "interrupted", {})
    assert search.ask() == first[3] and search.ask() is None and not search.done
    search.tell(first[3], "finished", {"validation/loss": 4.0}, recorded)
    second = [search.ask(), search.ask()]
    assert [p.overrides[:-1] for p in second] == [first[2].overrides[:-1], first[1].overrides[:-1]]
    assert [p.number for p in second] == [4, 5] and search.ask() is None


def test_what_failed_or_diverged_goes_no_further(simulate, job):
    seen = []
    ends = [{"validation/loss": 1.0}, None, {"validation/loss": float("nan")}, None]

    def train(options):
        seen.append(options)
        return job(ends[len(seen) - 1] if len(seen) <= 4 else ends[0])

    search = Halving(Space(SPACE), tokens=10, trials=4, factor=2)
    record = simulate(search, train)
    assert [o["budget.tokens"] for o in seen] == ["10"] * 4 + ["20", "40"]
    assert {o["x"] for o in seen[4:]} == {seen[0]["x"]}
    assert sorted(record.proposals) == [0, 1, 2, 3, 4, 6], "numbers do not depend on what failed"
    assert search.best() == [6]


def test_every_combination_may_be_the_first_rung(simulate, job):
    search = Halving(Space(["x=range(0,6)"]), tokens=10, trials=None, factor=2)
    record = simulate(search, lambda o: job({"validation/loss": float(o["x"])}))
    assert rungs_of(record) == {10: [0, 1, 2, 3, 4, 5], 20: [0, 1, 2], 40: [0]}


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["budget.tokens=1,2"], {}, "budget.tokens: set by sweep=halving itself"),
        (["budget.tokens=5"], {}, "budget.tokens: set by sweep=halving itself"),
        (SPACE, {"factor": 1}, "sweep.factor=1: expected at least 2"),
        (SPACE, {"trials": 0}, "sweep.trials=0: expected at least 1"),
        (["x=1"], {"trials": 3}, "sweep.trials=3: no option varies, so all jobs would be the same"),
        (SPACE, {"trials": None}, "x: an interval has no list of values"),
    ],
)
def test_what_cannot_work_is_refused(words, options, message):
    with pytest.raises(UserError, match=message):
        Halving(Space(words), tokens=10, **options)
