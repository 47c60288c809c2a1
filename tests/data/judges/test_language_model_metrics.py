import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import BinaryCalibrationError
from torchmetrics.text import Perplexity

from lmlab.data.judges.likelihood import BINS, LanguageModelMetrics


def scores(tokens: int, vocabulary: int = 11, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(tokens, vocabulary, generator=generator, dtype=torch.float64)
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    log_probs = logits.log_softmax(1)
    nats = -log_probs.gather(1, targets[:, None]).squeeze(1)
    confidence, guess = log_probs.exp().max(1)
    return log_probs, targets, nats, guess == targets, confidence


def test_every_metric_agrees_with_an_independent_one():
    log_probs, targets, nats, correct, confidence = scores(5000)
    metrics = LanguageModelMetrics(tokens_per_byte=0.25)
    metrics.update(nats, correct, confidence)
    found = metrics.compute()

    perplexity = Perplexity()
    perplexity.update(log_probs[None], targets[None])
    calibration = BinaryCalibrationError(n_bins=BINS, norm="l1")
    calibration.update(confidence, correct.int())
    assert found["perplexity"] == pytest.approx(float(perplexity.compute()), rel=1e-6)
    assert found["loss"] == pytest.approx(float(torch.nn.functional.nll_loss(log_probs, targets)), rel=1e-12)
    assert found["bits_per_byte"] == pytest.approx(math.log2(math.exp(found["loss"])) * 0.25, rel=1e-12)
    assert found["accuracy"] == pytest.approx(float((log_probs.argmax(1) == targets).double().mean()), rel=1e-12)
    assert found["calibration_error"] == pytest.approx(float(calibration.compute()), rel=1e-5)


@given(st.lists(st.integers(1, 999), max_size=5))
def test_the_result_does_not_depend_on_how_tokens_are_batched(cuts):
    _, _, nats, correct, confidence = scores(1000)
    whole, parts = LanguageModelMetrics(1.0), LanguageModelMetrics(1.0)
    whole.update(nats, correct, confidence)
    edges = sorted({0, 1000, *cuts})
    for start, stop in itertools.pairwise(edges):
        parts.update(nats[start:stop], correct[start:stop], confidence[start:stop])
    for name, value in whole.compute().items():
        assert parts.compute()[name] == pytest.approx(value, rel=1e-12)


def test_a_uniform_guess_costs_eight_bits_per_byte():
    """256 equally probable bytes: log2(256) = 8 bits for each."""
    metrics = LanguageModelMetrics(tokens_per_byte=1.0)
    metrics.update(torch.full((10,), math.log(256)), torch.zeros(10, dtype=torch.bool), torch.full((10,), 1 / 256))
    assert metrics.compute()["bits_per_byte"] == pytest.approx(8.0, rel=1e-6)


def test_moving_to_half_precision_does_not_touch_the_sums():
    metrics = LanguageModelMetrics(1.0).bfloat16()
    assert metrics.nats.dtype == torch.float64


def test_nothing_scored_is_nan():
    assert all(math.isnan(value) for value in LanguageModelMetrics(1.0).compute().values())
