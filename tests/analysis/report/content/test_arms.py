import itertools
import json

import numpy as np
import pytest
from scipy import stats

from lmlab.analysis.report.content.arms import arms
from lmlab.analysis.report.document import Interval, Table


def test_every_number_of_the_results(arm, compared, table, losses):
    lstm, transformer = losses
    arm("lstm", lstm)
    arm("transformer", transformer)
    section = arms(compared())
    first, second = table(section, "results")
    further = table(section, "statistics")
    for row, statistics, values in ((first, further[0], lstm), (second, further[1], transformer)):
        scores = np.array(list(values.values()))
        low, high = stats.t.interval(0.95, 4, scores.mean(), stats.sem(scores))
        shown = row["loss (nats/token)"]
        assert (shown.value, shown.low, shown.high) == pytest.approx((scores.mean(), low, high))
        drawn = stats.bootstrap(
            (scores,), np.mean, n_resamples=20_000, rng=np.random.default_rng(7)
        ).confidence_interval
        bootstrap = statistics["loss (nats/token), bootstrap"]
        assert (bootstrap.low, bootstrap.high) == pytest.approx((drawn.low, drawn.high), abs=0.1 * scores.std())
        assert (row["seeds"], statistics["standard deviation"]) == (5, pytest.approx(scores.std(ddof=1)))
    difference = np.array([transformer[seed] - lstm[seed] for seed in lstm])
    low, high = stats.t.interval(0.95, 4, difference.mean(), stats.sem(difference))
    less = second["difference to lstm"]
    assert (less.value, less.low, less.high) == pytest.approx((difference.mean(), low, high))
    assert second["p"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert further[1]["p (sign flips)"] == pytest.approx(2 / 2**5)  # all five have one sign
    # Hedges' correction for n - 1 = 4 degrees of freedom, in its exact form
    correction = np.exp(np.sum(np.log([1.0]))) * np.sqrt(2 / 4) * 1.0 / (np.sqrt(np.pi) / 2)
    assert further[1]["effect size"].value == pytest.approx(correction * difference.mean() / difference.std(ddof=1))
    assert first["difference to lstm"] is None and further[0]["test"] is None and further[1]["test"] == "paired t"
    assert (first["verdict"], second["verdict"]) == ("baseline", "better")


def test_tests_of_arms_without_shared_seeds_have_their_names(arm, compared, table, losses):
    arm("lstm", losses[0])
    arm("transformer", {seed + 10: loss for seed, loss in losses[1].items()})
    section = arms(compared())
    _, further = table(section, "statistics")
    assert "p (permutation)" in further and further["test"] == "Welch t (seeds not shared)"
    assert isinstance(further["effect size"], float)


def test_p_values_and_intervals_are_corrected_for_all_pairs(arm, compared, table):
    losses = {"lstm": {1: 1.50, 2: 1.51, 3: 1.49, 4: 1.52}}
    for model, shift, noise in (("gru", 0.01, 0.2), ("rnn", 0.02, 0.3), ("transformer", -0.05, -0.1)):
        losses[model] = {s: loss + shift + 0.01 * noise * (-1) ** s * s for s, loss in losses["lstm"].items()}
    for model, scores in losses.items():
        arm(model, scores)
    section = arms(compared(baseline="lstm"))
    rows = table(section, "results")
    assert [row["arm"] for row in rows] == ["lstm", "gru", "rnn", "transformer"]
    pairs = table(section, "pairs")
    order = ["transformer", "lstm", "gru", "rnn"]  # best first
    assert [(row["arm"], row["against"]) for row in pairs] == list(itertools.combinations(order, 2))
    for row in pairs:
        first, second = (list(losses[row[side]].values()) for side in ("arm", "against"))
        alone = stats.ttest_rel(first, second)
        low, high = alone.confidence_interval(1 - 0.05 / 6)
        shown = row["difference"]
        assert (shown.low, shown.high) == pytest.approx((low, high))
        assert row["p"] == pytest.approx(min(1, 6 * alone.pvalue))
        assert row["verdict"] == ("better" if 6 * alone.pvalue < 0.05 else "not significant")
    held = {row["arm"]: row for row in rows}
    for row in pairs:  # the same numbers in both tables
        if "lstm" in (row["arm"], row["against"]):
            other = row["arm"] if row["against"] == "lstm" else row["against"]
            assert held[other]["p"] == row["p"]
            assert abs(held[other]["difference to lstm"].value) == pytest.approx(abs(row["difference"].value))


def test_the_best_and_those_that_cannot_be_is_significant_from_it_are_bold(arm, compared):
    def bold():
        parts = arms(compared(baseline="lstm")).parts
        part = next(part for part in parts if isinstance(part, Table) and part.name == "results")
        return {part.rows[i][0] for column in part.columns for i in column.best}

    arm("lstm", {1: 1.50, 2: 1.60, 3: 1.40})
    arm("transformer", {1: 1.45, 2: 1.55, 3: 1.36})  # their own intervals overlap, their differences are all alike
    assert bold() == {"transformer"}
    arm("gru", {1: 1.40, 2: 1.62, 3: 1.30})
    assert bold() == {"gru", "transformer", "lstm"}
    arm("rnn", {1: 1.0})  # a single run is not a finding
    assert bold() == {"gru", "transformer", "lstm"}


def test_one_seed_has_a_number_and_nothing_else(arm, compared, table):
    arm("lstm", {1: 1.5})
    arm("transformer", {1: 1.4})
    section = arms(compared())
    first, second = table(section, "results")
    assert first["loss (nats/token)"] == 1.5
    assert second["difference to lstm"] == pytest.approx(-0.1) and second["p"] is None
    assert second["verdict"] == "not tested"
    assert "statistics" not in [part.name for part in section.parts]


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
