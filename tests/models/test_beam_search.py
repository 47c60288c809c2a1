"""Beam search against the best of all texts."""

import itertools
from typing import Any

import pytest
import torch

from lmlab.models.beam_search import beam_search
from lmlab.models.choice import score_options
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode

V, LENGTH, STOP, CONTEXT = 5, 4, 2, 12
ALL = V ** (LENGTH - 1)
"""Beams among which no beginning of a text is ever missing."""

MODELS = ["model=gru", "model=transformer", "model=hybrid", "model=gpt2"]
PROMPTS = [[1, 0, 3], [4], [1, 1, 2, 0, 4, 3, 3], [1, 0, 3, 3]]


@torch.no_grad()
def log_probabilities(model: Any, prompt: list[int], length: int) -> dict[tuple[int, ...], list[float]]:
    """The log-probabilities of the tokens of all texts of a length after a prompt, which is read again for each."""
    texts = list(itertools.product(range(V), repeat=length))
    hidden = model(torch.tensor([[*prompt, *text] for text in texts])).hidden[:, len(prompt) - 1 : -1]
    scores = model.head.log_probs(hidden).gather(2, torch.tensor(texts)[..., None])[..., 0]
    return dict(zip(texts, scores.tolist(), strict=True))


def best_of_all(model: Any, prompt: list[int], power: float, theta: float) -> list[tuple[float, list[int]]]:
    """Scores and tokens of all texts after a prompt, the best first."""
    scored = []
    for length in range(1, LENGTH + 1):
        for text, log_probs in log_probabilities(model, prompt, length).items():
            if STOP in text[:-1] or (length < LENGTH and text[-1] != STOP):
                continue
            again = [token in {*prompt, *text[:place]} and token != STOP for place, token in enumerate(text)]
            total = sum(each * (theta if seen else 1.0) for each, seen in zip(log_probs, again, strict=True))
            scored.append((total / length**power, list(text)))
    return sorted(scored, reverse=True)


def peaked(make_model, overrides: str) -> Any:
    """A model whose predictions depend much on what it has read."""
    model = make_model(overrides, vocabulary=V, context=CONTEXT, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


@pytest.mark.parametrize(("power", "theta"), [(0.0, 1.0), (0.7, 1.0), (2.0, 1.0), (1.0, 1.5)])
@pytest.mark.parametrize("overrides", MODELS)
def test_with_enough_beams_the_best_texts_of_all_are_returned(make_model, overrides, power, theta):
    """Prompts of unequal length in one batch, n-best, texts that end early."""
    model = peaked(make_model, overrides)
    decoding = Decoding(length=LENGTH, beams=ALL, best=7, length_penalty=power, repetition_penalty=theta)
    rows = [Row(prompt, stop=[STOP]) for prompt in PROMPTS]
    for prompt, results in zip(PROMPTS, beam_search(model, rows, decoding, CONTEXT, 4 * ALL), strict=True):
        expected = best_of_all(model, prompt, power, theta)[:7]
        assert [result.tokens for result in results] == [tokens for _, tokens in expected]
        assert [result.score for result in results] == pytest.approx([score for score, _ in expected], abs=1e-9)
        assert all((result.ended_by == "stop") == (result.tokens[-1] == STOP) for result in results)
        if theta == 1:
            totals = [sum(result.log_probs) / len(result.tokens) ** power for result in results]
            assert totals == pytest.approx([result.score for result in results], abs=1e-9)


def begun_with(texts):
    """What may come next in one of some texts."""
    return lambda tokens: {text[len(tokens)] for text in texts if text[: len(tokens)] == tuple(tokens) != text}


@pytest.mark.parametrize("overrides", MODELS)
def test_of_allowed_texts_the_best_is_found_and_greedy_decoding_stays_among_them(make_model, overrides):
    model = peaked(make_model, overrides)
    texts = [(0, 1, STOP), (0, 1, 3, STOP), (4, 4, 4, STOP), (3, STOP), (1, 0, 0, STOP)]
    rows = [Row(prompt, stop=[STOP], allowed=begun_with(texts)) for prompt in PROMPTS]
    scores = score_options(model, PROMPTS, [texts] * len(PROMPTS), CONTEXT)
    for results, of_texts in zip(beam_search(model, rows, Decoding(beams=9, best=5), CONTEXT), scores, strict=True):
        ranked = sorted(zip(of_texts, texts, strict=True), reverse=True)
        assert [tuple(result.tokens) for result in results] == [text for _, text in ranked]
        assert [result.score for result in results] == pytest.approx([score for score, _ in ranked], abs=1e-9)
    for prompt, result in zip(PROMPTS, decode(model, rows, Decoding(greedy=True), CONTEXT), strict=True):
        written = []
        while (allowed := begun_with(texts)(written)) and STOP not in written:
            with torch.no_grad():
                last = model.head.log_probs(model(torch.tensor([[*prompt, *written]])).hidden[:, -1])[0]
            written.append(max(sorted(allowed), key=lambda token: float(last[token])))
        assert result.tokens == written
    sampled = [Row([4], seed, [STOP], allowed=begun_with(texts)) for seed in range(40)]
    drawn = {tuple(result.tokens) for result in decode(model, sampled, Decoding(temperature=9.0), CONTEXT)}
    assert drawn <= set(texts) and len(drawn) > 2
    # Another row may say anything.
    free, other = decode(model, [rows[0], Row([4], stop=[STOP])], Decoding(greedy=True, length=6), CONTEXT)
    (alone,) = decode(model, [Row([4], stop=[STOP])], Decoding(greedy=True, length=6), CONTEXT)
    assert other.tokens == alone.tokens
    assert tuple(free.tokens) in texts


@pytest.mark.parametrize("overrides", MODELS)
def test_a_row_is_the_same_alone_and_among_others(make_model, overrides):
    """Also beyond the context, and with limits, stop tokens and other ends of each row's own."""
    model = peaked(make_model, overrides)
    decoding = Decoding(length=20, beams=3, best=2, length_penalty=0.5)
    rows = [Row(prompt, stop=[STOP]) for prompt in [*PROMPTS, [3, 1] * 8]]
    rows += [Row([1, 0, 3], length=6), Row([4], ends=lambda tokens: tokens[-2:] == (0, 0))]
    alone = [beam_search(model, [row], decoding, 6)[0] for row in rows]
    for batch_size in (1, 8, 64):
        for results, single in zip(beam_search(model, rows, decoding, 6, batch_size), alone, strict=True):
            assert [result.tokens for result in results] == [result.tokens for result in single]
            assert [result.score for result in results] == pytest.approx([result.score for result in single], abs=1e-9)
    assert decode(model, rows, decoding, 6) == [results[0] for results in beam_search(model, rows, decoding, 6)]
    assert all(len(result.tokens) == 6 for result in alone[-2])


def test_text_that_ends_a_row_is_asked_for_every_hypothesis(make_model):
    """Whatever ends with two equal tokens: the best of all such texts."""
    model = peaked(make_model, "model=gru")
    decoding = Decoding(length=LENGTH, beams=ALL, best=3)
    row = Row([1, 0], ends=lambda tokens: len(tokens) > 1 and tokens[-1] == tokens[-2])
    (results,) = beam_search(model, [row], decoding, CONTEXT)
    expected = sorted(
        (-sum(log_probs), list(text))
        for length in range(2, LENGTH + 1)
        for text, log_probs in log_probabilities(model, [1, 0], length).items()
        if all(a != b for a, b in itertools.pairwise(text[:-1])) and (length == LENGTH or text[-1] == text[-2])
    )[:3]
    assert [result.tokens for result in results] == [tokens for _, tokens in expected]
    ends = ["text" if tokens[-1] == tokens[-2] else "length" for _, tokens in expected]
    assert [result.ended_by for result in results] == ends


@torch.no_grad()
def test_a_prompt_is_read_once_whatever_the_number_of_beams(make_model):
    model = make_model("model=transformer")
    shapes = []
    model.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    beam_search(model, [Row([1, 2, 3, 4]), Row([1, 2, 3, 5])], Decoding(length=3, beams=4), CONTEXT)
    assert shapes == [(2, 4), (8, 1), (8, 1)]
    shapes.clear()
    beam_search(model, [Row([1, 2, 3]), Row([1, 2, 3, 5, 5])], Decoding(length=3, beams=4), CONTEXT)
    assert shapes == [(2, 3), (5, 1), (5, 1), (4, 1), (4, 1)]


def test_a_search_ends_when_no_running_text_can_be_better(make_model):
    """All of the probability on the stop token: nothing is read after the prompt."""
    model = make_model("model=gru", dtype=torch.float64)
    with torch.no_grad():
        model.head.linear.bias = torch.nn.Parameter(torch.full((13,), -20.0, dtype=torch.float64))
        model.head.linear.bias[STOP] = 20.0
    shapes = []
    model.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    (results,) = beam_search(model, [Row([1, 2], stop=[STOP])], Decoding(length=50, beams=3), CONTEXT)
    assert results[0].tokens == [STOP] and shapes == [(1, 2)]
