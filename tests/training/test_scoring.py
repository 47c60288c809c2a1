"""Every token is scored exactly once, whatever the batch size, and state means what it says."""

import math

import numpy as np
import pytest
import torch
from model_sections import model_section

from lmlab.config.build import build
from lmlab.config.options import options_of
from lmlab.data.judges import Likelihood
from lmlab.data.windows import READINGS, Reading, read
from lmlab.errors import UserError
from lmlab.training.scoring import evaluate

MODELS = options_of("model")
VOCABULARY, CONTEXT, LENGTH = 11, 8, 203


@pytest.fixture
def stream():
    return np.random.default_rng(0).integers(VOCABULARY, size=LENGTH + 1).astype(np.uint16)


def make(name: str) -> torch.nn.Module:
    section = model_section(f"model={name}", "model.width=16", "model.depth=2")
    torch.manual_seed(0)
    model = build(section, vocabulary=VOCABULARY, context=CONTEXT).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # predictions far enough from uniform that a wrong context shows
    return model


def score(model, stream, metric, batch_size=4, **changes):
    settings = {"context": CONTEXT, "stride": 3, "streams": 5, "batch_size": batch_size} | changes
    return evaluate(model, read(stream, metric, **settings), [Likelihood(1.0)], settings["context"])


@pytest.mark.parametrize("metric", READINGS)
@pytest.mark.parametrize("name", MODELS)
def test_the_batch_size_does_not_matter(name, metric, stream):
    model = make(name)
    results = [score(model, stream, metric, batch_size) for batch_size in (1, 7, 64)]
    for result in results:
        assert result["tokens"] == LENGTH
        for key, value in results[0].items():
            assert result[key] == pytest.approx(value, rel=1e-6, abs=1e-9), key


@pytest.mark.parametrize("name", MODELS)
def test_every_metric_agrees_with_scoring_token_by_token(name, stream):
    """Slowly: for each target, its own context read from an empty state."""
    model = make(name)

    def nats(first: int, target: int) -> float:
        context = torch.tensor(stream[first:target].astype(np.int64))[None]
        with torch.no_grad():
            hidden = model(context, None).hidden
            return -float(model.head.log_probs(hidden[0, -1])[int(stream[target])])

    targets = range(1, LENGTH + 1)
    fixed = [nats((target - 1) // CONTEXT * CONTEXT, target) for target in targets]
    starts = [0 if target <= CONTEXT else math.ceil((target - CONTEXT) / 3) * 3 for target in targets]
    sliding = [nats(first, target) for first, target in zip(starts, targets, strict=True)]
    assert score(model, stream, "fixed_window")["loss"] == pytest.approx(np.mean(fixed), rel=1e-5)
    assert score(model, stream, "sliding_window")["loss"] == pytest.approx(np.mean(sliding), rel=1e-5)


def test_a_recurrent_state_is_carried_through_a_whole_stream(stream):
    model = make("lstm")
    with torch.no_grad():
        hidden = model(torch.tensor(stream[:-1].astype(np.int64))[None], None).hidden
        log_probs = model.head.log_probs(hidden[0])
    expected = -log_probs.gather(1, torch.tensor(stream[1:].astype(np.int64))[:, None]).mean()
    assert score(model, stream, "stateful", streams=1)["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_an_attention_cache_keeps_its_last_tokens(stream):
    """Chunks of the context's length, each with the cache of the one before: the second half of a doubled window."""
    model = make("transformer")
    ids = torch.tensor(stream.astype(np.int64))
    total = 0.0
    with torch.no_grad():
        state = None
        for start in range(0, LENGTH, CONTEXT):
            chunk = ids[start : min(start + CONTEXT, LENGTH)][None]
            hidden, state, _ = model(chunk, state)
            kept = [
                (position, type(cache)(cache.keys[:, :, -CONTEXT:], cache.values[:, :, -CONTEXT:]))
                for position, cache in state.blocks
            ]
            state = state._replace(blocks=tuple(kept))
            log_probs = model.head.log_probs(hidden[0])
            total -= float(log_probs.gather(1, ids[start + 1 : start + 1 + chunk.shape[1], None]).sum())
    assert score(model, stream, "stateful", streams=1)["loss"] == pytest.approx(total / LENGTH, rel=1e-5)


def test_learned_positions_start_afresh_when_they_end(stream):
    """Their table is as long as the context here, so carried state can never be used."""
    model = make("gpt2")
    assert score(model, stream, "stateful", streams=1)["loss"] == pytest.approx(
        score(model, stream, "fixed_window")["loss"], rel=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["fixed"]}, "metrics=fixed: unknown"),
        ({"metrics": []}, "expected at least one"),
        ({"stride": 9}, "stride=9"),
        ({"streams": 0}, "streams=0"),
        ({"context": 65, "stride": 1}, "context=65: the positions of this model end at 64"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    settings = {"metrics": ["stateful"], "context": 8, "stride": 4, "streams": 2, "batch_size": 1} | changes
    metrics = settings.pop("metrics")
    with pytest.raises(ValueError, match=message):
        Reading(**settings).check(metrics, max_positions=64)


def test_a_batch_that_does_not_fit_into_memory_is_one_clear_message(stream, monkeypatch):
    model = make("lstm")

    def full(tokens, state):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "forward", full)
    with pytest.raises(UserError, match=r"batch_size=4: .* do not fit into memory, choose fewer"):
        score(model, stream, "fixed_window")
