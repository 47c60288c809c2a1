import json

import numpy as np
import pytest
from scipy import stats

from lmlab.analysis.report.content.arms import arms
from lmlab.analysis.report.document import Interval


def test_every_number_of_the_results(arm, compared, table, losses):
    lstm, transformer = losses
    arm("lstm", lstm)
    arm("transformer", transformer)
    first, second = table(arms(compared()), "results")
    for row, values in ((first, lstm), (second, transformer)):
        scores = np.array(list(values.values()))
        low, high = stats.t.interval(0.95, 4, scores.mean(), stats.sem(scores))
        shown = row["loss (nats/token)"]
        assert (shown.value, shown.low, shown.high) == pytest.approx((scores.mean(), low, high))
        drawn = stats.bootstrap(
            (scores,), np.mean, n_resamples=20_000, rng=np.random.default_rng(7)
        ).confidence_interval
        bootstrap = row["bootstrap interval (BCa)"]
        assert (bootstrap.low, bootstrap.high) == pytest.approx((drawn.low, drawn.high), abs=0.1 * scores.std())
        assert (row["n"], row["standard deviation"]) == (5, pytest.approx(scores.std(ddof=1)))
    difference = np.array([transformer[seed] - lstm[seed] for seed in lstm])
    low, high = stats.t.interval(0.95, 4, difference.mean(), stats.sem(difference))
    less = second["difference to lstm"]
    assert (less.value, less.low, less.high) == pytest.approx((difference.mean(), low, high))
    assert second["p (Holm)"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert second["p (sign flips)"] == pytest.approx(2 / 2**5)  # all five have one sign
    # Hedges' correction for n - 1 = 4 degrees of freedom, in its exact form
    correction = np.exp(np.sum(np.log([1.0]))) * np.sqrt(2 / 4) * 1.0 / (np.sqrt(np.pi) / 2)
    assert second["effect size (Hedges' g)"].value == pytest.approx(
        correction * difference.mean() / difference.std(ddof=1)
    )
    assert first["difference to lstm"] is None and first["test"] is None and second["test"] == "paired t"


def test_a_p_value_is_corrected_for_their_number(arm, compared, table):
    lstm = {1: 1.50, 2: 1.51, 3: 1.49, 4: 1.52}
    arm("lstm", lstm)
    raw = []
    for model, shift in (("gru", 0.01), ("rnn", 0.02), ("transformer", -0.05)):
        scores = {seed: loss + shift + 0.01 * (-1) ** seed * seed / 4 for seed, loss in lstm.items()}
        arm(model, scores)
        raw.append(stats.ttest_rel(list(scores.values()), list(lstm.values())).pvalue)
    holm, least = {}, 0.0
    for place, (index, p) in enumerate(sorted(enumerate(raw), key=lambda pair: pair[1])):
        least = max(least, min(1.0, (3 - place) * p))
        holm[index] = least
    rows = table(arms(compared(baseline="lstm")), "results")
    assert [row["arm"] for row in rows] == ["lstm", "gru", "rnn", "transformer"]
    assert [row["p (Holm)"] for row in rows[1:]] == pytest.approx([holm[i] for i in range(3)])


def test_one_seed_has_a_number_and_nothing_else(arm, compared, table):
    arm("lstm", {1: 1.5})
    arm("transformer", {1: 1.4})
    first, second = table(arms(compared()), "results")
    assert first["loss (nats/token)"] == 1.5
    assert first["standard deviation"] is None and first["bootstrap interval (BCa)"] is None
    assert second["difference to lstm"] == pytest.approx(-0.1) and second["p (Holm)"] is None


def test_sizes_and_costs_are_means_of_what_runs_recorded(arm, compared, table):
    timings = {"tokens": 1e6, "peak_memory_bytes": 3 * 2**20, "utilisation": 0.25, "joules": 900.0, "flops": 6e12}
    for seed, seconds in ((1, 100.0), (2, 110.0), (3, 120.0)):
        generation = {"tokens_per_second": 50.0 + seed, "state_bytes": 1024}
        arm("lstm", {seed: 1.5}, timings={**timings, "seconds": seconds}, generation=generation)
    arm("transformer", {1: 1.4})
    section = arms(compared())
    lstm, transformer = table(section, "costs")
    low, high = stats.t.interval(0.95, 2, 110.0, 10 / np.sqrt(3))
    assert lstm["time"] == Interval(pytest.approx(110.0), pytest.approx(low), pytest.approx(high))
    assert (lstm["training"], lstm["peak memory"], lstm["model FLOPs utilisation"]) == (6e12, 3.0, 0.25)
    assert lstm["generation speed"].value == 52.0 and lstm["energy"] == 900.0
    assert transformer["peak memory"] is None
    assert transformer["training"] == 3 * 2e6 * transformer["tokens"]  # not measured: counted
    sizes = table(section, "sizes")[0]
    assert (sizes["parameters"], sizes["non-embedding parameters"], sizes["state of a sequence"]) == (1e6, 9e5, 4096)


def test_what_no_run_has_has_no_column(arm, compared, table):
    arm("lstm", {1: 1.5})
    assert "energy" not in table(arms(compared()), "costs")[0]
    assert "difference to lstm" not in table(arms(compared()), "results")[0]


def test_ways_of_scoring_are_separate_rows(arm, compared, table):
    runs = arm("lstm", {1: 1.5, 2: 1.5}) + arm("transformer", {1: 1.4})
    for number, run in enumerate(runs):
        metrics = {"fixed_window": {"loss": 1.0, "bits_per_byte": 0.8 + number}, "stateful": {"bits_per_byte": 0.7}}
        row = {"settings": {"split": "test", "context": 128}, "metrics": metrics, "time": ""}
        (run.path / "evaluations.jsonl").write_text(json.dumps(row) + "\n")
    fixed, stateful = table(arms(compared()), "evaluations")
    assert fixed["scored by"] == "fixed window, bits/byte" and fixed["settings"] == "split test, context 128"
    assert fixed["lstm"].value == pytest.approx(1.3) and fixed["transformer"] == pytest.approx(2.8)
    assert stateful["scored by"] == "stateful, bits/byte" and stateful["transformer"] == 0.7
