import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.sweeps.search.study import PILOT_STEPS, Pilot, StudySearch
from lmlab.sweeps.study import Study

LOSS = "validation/loss"


def make(arms=2, trials=4, seeds=(1, 2, 3), metric=LOSS, seconds=None):
    names = [f"arm{number}" for number in range(arms)]
    section = {"arms": {arm: [f"model={arm}"] for arm in names}, "seeds": [*seeds], "metric": metric}
    section |= {"tune": {"x": "interval(0,1)"}, "trials": trials} if trials else {}
    study = Study.read(section | {"budget": None if seconds is None else {"seconds": seconds}})
    candidates = {arm: study.candidates(arm, []) for arm in names}
    pilots = {arm: Pilot(study.untuned(arm, []), 100) for arm in names} if seconds is not None else None
    return study, StudySearch(study, candidates, pilots, metric, "lower" if metric == LOSS else "higher")


def loss_of(proposal):
    """Follows from what is computed alone; some diverge, some fail."""
    words = dict(word.split("=") for word in proposal.overrides)
    draw = math.sin(1e4 * float(words.get("x", 0.1)) + len(words["model"]) + ord(words["model"][-1])) % 1
    return None if draw < 0.2 else math.nan if draw < 0.4 else draw + 0.01 * int(words["seed"])


def compute(search, outcomes=None, stop_after=math.inf, order=None):
    """Compute what a search asks for, in some order; return proposals by number, and how often each was computed.

    Args:
        outcomes: what is known already, by words; what is computed is added.
    """
    outcomes = {} if outcomes is None else outcomes
    proposals, computed, under_way = {}, 0, []
    expected = search.total
    while not search.done:
        while len(under_way) < 3 and (proposal := search.ask()) is not None:
            assert proposal.number not in proposals
            proposals[proposal.number] = proposal
            assert len(proposals) + search.to_come(proposals) == search.total <= expected
            under_way.append(proposal)
        proposal = under_way.pop(order(len(under_way)) if order else 0)
        words = tuple(proposal.overrides)
        if words not in outcomes:
            if computed >= stop_after:
                return proposals
            computed += 1
            outcomes[words] = 0.5 if proposal.phase == "pilot" else loss_of(proposal)
        score = outcomes[words]
        if proposal.phase == "pilot":
            search.tell(proposal, "finished", {"timings/tokens_per_second": 1000.0 * len(proposal.arm)})
        elif score is None:
            search.tell(proposal, "failed", {})
        else:
            search.tell(proposal, "finished", {LOSS: score})
    assert search.ask() is None and search.total == len(proposals) and search.to_come(proposals) == 0
    given_up = len(search.candidates) - len(search.winners)  # arms of which all trials failed
    assert len(proposals) == expected - given_up * len(search.study.seeds)
    return proposals


@given(st.integers(2, 4), st.integers(2, 6), st.sets(st.integers(0, 6), min_size=1, max_size=4), st.booleans())
def test_every_arm_has_the_same_trials_and_its_best_has_every_seed(arms, trials, seeds, timed):
    study, search = make(arms, trials, sorted(seeds), seconds=2.0 if timed else None)
    proposals = compute(search)
    drawn, finals, pilots = defaultdict(list), defaultdict(list), []
    for number in sorted(proposals):
        proposal = proposals[number]
        words = dict(word.split("=") for word in proposal.overrides)
        assert words["model"] == proposal.arm
        if proposal.phase == "pilot":
            pilots.append(proposal.arm)
            assert "x" not in words and words["budget.tokens"] == str(100 * PILOT_STEPS)
            continue
        assert words.get("budget.tokens") == ("8000" if timed else None)
        if proposal.phase == "trial":
            assert words["seed"] == str(study.tuning_seed) and int(words["seed"]) not in seeds
            drawn[proposal.arm].append((words["x"], loss_of(proposal)))
        else:
            finals[proposal.arm].append((words["x"], int(words["seed"])))
    assert pilots == (list(study.arms) if timed else [])
    assert {len(found) for found in drawn.values()} == {trials} and len(drawn) == arms
    assert len({tuple(x for x, _ in found) for found in drawn.values()}) == 1, "the same draws"
    for arm, found in drawn.items():
        good = [(loss, x) for x, loss in found if loss is not None and math.isfinite(loss)]
        assert finals[arm] == ([(min(good)[1], seed) for seed in sorted(seeds)] if good else [])
    assert sum(search.counts.values()) == len(proposals) + sum(len(seeds) for arm in drawn if not finals[arm])


@pytest.mark.slow
@given(st.integers(0, 40), st.integers(0, 40), st.randoms(use_true_random=False))
def test_interrupted_at_any_moment_and_repeated_it_asks_for_the_same_and_computes_nothing_twice(first, second, random):
    known = {}
    for stop in (first, second):
        compute(make(3, 5, seconds=1.0)[1], known, stop, random.randrange)
    proposals = compute(make(3, 5, seconds=1.0)[1], known, order=random.randrange)
    undisturbed = {}
    assert proposals == compute(make(3, 5, seconds=1.0)[1], undisturbed)
    assert known == undisturbed, "each was computed once, and nothing else"
    before = dict(known)
    assert compute(make(3, 5, seconds=1.0)[1], known, stop_after=0) == proposals and known == before


def test_what_was_interrupted_is_proposed_again():
    _, search = make(trials=2)
    first = search.ask()
    search.tell(first, "interrupted", {})
    assert search.ask() == first and not search.done


def test_a_metric_of_which_more_is_better_chooses_the_greatest_and_of_equal_ones_the_first():
    _, search = make(trials=3, metric="validation/accuracy")
    scores = {0: 0.5, 1: 0.7, 2: 0.9, 3: 0.7, 4: 0.9, 5: 0.1}
    for _ in range(6):
        proposal = search.ask()
        search.tell(proposal, "finished", {"validation/accuracy": scores[proposal.number]})
    assert search.winners == {"arm0": 1, "arm1": 0} and search.best() == [2, 1]


def test_an_arm_goes_on_to_its_final_runs_while_another_is_still_tuned():
    _, search = make(trials=2, seeds=(5,))
    trials = [search.ask() for _ in range(4)]
    assert [(trial.arm, trial.number) for trial in trials] == [("arm0", 0), ("arm1", 1), ("arm0", 2), ("arm1", 3)]
    assert search.ask() is None and not search.done
    for trial in (trials[0], trials[2]):
        search.tell(trial, "finished", {LOSS: 1.0})
    final = search.ask()
    assert (final.arm, final.phase, final.number) == ("arm0", "final", 4)
    assert final.overrides == [*trials[0].overrides[:-1], "seed=5"]


def test_without_anything_to_choose_there_are_no_trials():
    _, search = make(trials=None)
    proposals = compute(search)
    assert {proposal.phase for proposal in proposals.values()} == {"final"} and len(proposals) == 6
    assert search.counts == {"pilot": 0, "trial": 0, "final": 6}


def test_a_budget_in_seconds_is_as_many_whole_steps_as_the_pilot_would_have_taken():
    _, search = make(trials=None, seconds=7)
    speeds = {"arm0": 130.0, "arm1": 3.0}
    for _ in speeds:
        pilot = search.ask()
        search.tell(pilot, "finished", {"timings/tokens_per_second": speeds[pilot.arm]})
    budgets = {final.arm: final.overrides[1] for final in (search.ask(), search.ask())}
    assert budgets == {"arm0": "budget.tokens=900", "arm1": "budget.tokens=100"}  # one step at least


def test_without_a_pilot_there_is_no_budget(tmp_path):
    _, search = make(seconds=7)
    with pytest.raises(UserError, match=r"study.budget.seconds=7: the pilot run of arm0.* failed \(.*run\)"):
        search.tell(search.ask(), "failed", {}, tmp_path / "run")


def test_an_arm_with_fewer_combinations_has_fewer_trials():
    study, _ = make(trials=None)
    candidates = {"arm0": [["model=arm0"]], "arm1": [["model=arm1", f"x={x}"] for x in (0.1, 0.7, 0.9)]}
    search = StudySearch(study, candidates, None, LOSS, "lower")
    assert search.counts == {"pilot": 0, "trial": 3, "final": 6} and search.total == 9
    proposals = compute(search, {("model=arm1", f"x={x}", "seed=0"): x for x in (0.1, 0.7, 0.9)})
    trials = [proposal for proposal in proposals.values() if proposal.phase == "trial"]
    finals = [proposal for proposal in proposals.values() if proposal.phase == "final"]
    assert sorted(proposals) == list(range(9))
    assert {trial.arm for trial in trials} == {"arm1"} and len(trials) == 3
    assert {tuple(final.overrides[:-1]) for final in finals} == {("model=arm0",), ("model=arm1", "x=0.1")}
    assert sorted(search.best()) == [0, 3], "a trial of the one, the first final run of the other"


def test_a_metric_that_the_first_run_does_not_have_is_refused():
    _, search = make(metric="validation/mine")
    with pytest.raises(UserError, match="study.metric=validation/mine: a finished run has no .*'validation/min'"):
        search.tell(search.ask(), "finished", {"validation/min": 1.0})
