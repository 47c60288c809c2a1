import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.judges.breakdown import Breakdown
from lmlab.data.judges.likelihood import LanguageModelMetrics

COUNTS = np.array([0, 1, 9, 10, 99, 100, 12_345, 10**12])


def tokens(number, context=40, seed=0):
    draw = np.random.default_rng(seed)
    nats = draw.gamma(2.0, size=number)
    return torch.tensor(nats), *(torch.from_numpy(draw.integers(n, size=number)) for n in (context, len(COUNTS)))


def mean_by(keys, nats):
    """Loss and number by key, a token at a time."""
    found = {}
    for key, value in zip(keys, nats, strict=True):
        total, number = found.get(key, (0.0, 0))
        found[key] = (total + value, number + 1)
    return {key: (total / number, number) for key, (total, number) in found.items()}


def as_bins(rows):
    return {(row["from"], row["to"]): (pytest.approx(row["loss"], rel=1e-12), row["tokens"]) for row in rows}


def test_bins_hold_what_they_say():
    nats, positions, targets = tokens(3000)
    metric = Breakdown(40, lambda: COUNTS)
    metric.update(nats, positions, targets)
    found = metric.compute()

    def of_position(position):
        return (
            (0, 1) if position == 0 else (2 ** int(math.log2(position)), min(40, 2 ** (int(math.log2(position)) + 1)))
        )

    def of_count(count):
        digits = len(str(count))
        return (0, 1) if count == 0 else (10 ** (digits - 1), 10**digits)

    assert as_bins(found["position"]) == mean_by(map(of_position, positions.tolist()), nats.tolist())
    counts = [int(COUNTS[target]) for target in targets]
    assert as_bins(found["frequency"]) == mean_by(map(of_count, counts), nats.tolist())
    assert [row["from"] for row in found["position"]] == [0, 1, 2, 4, 8, 16, 32]
    assert found["position"][-1]["to"] == 40
    assert [row["from"] for row in found["frequency"]] == [0, 1, 10, 100, 10_000, 10**12]


@given(st.lists(st.integers(1, 499), max_size=5))
def test_the_result_does_not_depend_on_how_tokens_are_batched(cuts):
    nats, positions, targets = tokens(500)
    whole, parts = Breakdown(40, lambda: COUNTS), Breakdown(40, lambda: COUNTS).bfloat16()
    whole.update(nats, positions, targets)
    for start, stop in itertools.pairwise(sorted({0, 500, *cuts})):
        parts.update(nats[start:stop], positions[start:stop], targets[start:stop])
    for kind, rows in whole.compute().items():
        assert as_bins(rows) == {key: (v.expected, n) for key, (v, n) in as_bins(parts.compute()[kind]).items()}


def test_a_task_has_no_frequencies_and_a_reset_leaves_nothing():
    metric = Breakdown(40, None)
    metric.update(*tokens(10))
    found = metric.compute()
    assert found["frequency"] == [] and sum(row["tokens"] for row in found["position"]) == 10
    metric.reset()
    assert metric.compute() == {"position": [], "frequency": []}


def test_calibration_bins_come_to_the_calibration_error():
    draw = torch.Generator().manual_seed(0)
    confidence = torch.rand(2000, generator=draw, dtype=torch.float64)
    correct = torch.rand(2000, generator=draw) < confidence**2
    metrics = LanguageModelMetrics(1.0)
    metrics.update(-confidence.log(), correct, confidence)
    error = metrics.compute()["calibration_error"]
    bins = metrics.calibration
    assert sum(row["tokens"] for row in bins) == 2000
    assert sum(row["tokens"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 2000 == pytest.approx(error)
    for number, row in enumerate(bins):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        assert row["tokens"] == int(inside.sum())
        assert row["accuracy"] == pytest.approx(float(correct[inside].double().mean()))
        assert row["confidence"] == pytest.approx(float(confidence[inside].mean()))
