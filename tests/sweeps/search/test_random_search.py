import math
from collections import Counter

import pytest
from scipy import stats

from lmlab.errors import UserError
from lmlab.sweeps.search import Random, Space

WORDS = ["model=lstm", "lr=tag(log,interval(1e-4,1e-2))", "x=interval(-1,3)", "n=int(interval(1,4))", "c=a,b,c"]


def drawn(words, trials, seed=1):
    search = Random(Space(words), trials=trials, seed=seed)
    found = []
    while (proposal := search.ask()) is not None:
        assert proposal.number == len(found)
        found.append(dict(word.split("=") for word in proposal.overrides))
    return found


def test_draws_have_the_distributions_that_were_asked_for():
    jobs = drawn(WORDS, 3000)
    assert {job["model"] for job in jobs} == {"lstm"}
    logs = [math.log10(float(job["lr"])) for job in jobs]
    assert stats.kstest(logs, stats.uniform(-4, 2).cdf).pvalue > 0.01
    assert stats.kstest([float(job["lr"]) for job in jobs], stats.uniform(1e-4, 1e-2).cdf).pvalue < 1e-6
    assert stats.kstest([float(job["x"]) for job in jobs], stats.uniform(-1, 4).cdf).pvalue > 0.01
    for key, kinds in (("n", 4), ("c", 3)):
        counts = Counter(job[key] for job in jobs)
        assert len(counts) == kinds and stats.chisquare(list(counts.values())).pvalue > 0.01
    pairs = Counter((job["n"], job["c"]) for job in jobs)
    assert stats.chisquare(list(pairs.values())).pvalue > 0.01, "options are drawn independently"
    assert abs(stats.pearsonr(logs, [float(job["x"]) for job in jobs]).statistic) < 0.06


def test_a_draw_follows_from_the_seed_and_its_number_alone():
    few, many = drawn(WORDS, 5), drawn(WORDS, 50)
    assert many[:5] == few
    other = drawn([*reversed(WORDS), "another=1,2"], 5)
    assert [{key: job[key] for key in few[0]} for job in other] == few
    assert drawn(WORDS, 5, seed=2) != few
    assert few[0] == {  # the same for ever, on any machine
        "model": "lstm",
        "lr": "0.003464553608807628",
        "x": "-0.9147286639684451",
        "n": "2",
        "c": "a",
    }


def test_no_trials_are_refused():
    with pytest.raises(UserError, match=r"sweep\.trials=0: expected at least 1"):
        Random(Space(["a=1,2"]), trials=0)
