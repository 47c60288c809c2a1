import pytest
import torch

from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode
from lmlab.models.likelihood import score

CONTEXT = 8
LENGTHS = (3, 8, 1, 7, 20)


@pytest.fixture
def prompts():
    drawn = torch.Generator().manual_seed(0)
    return [torch.randint(13, (length,), generator=drawn).tolist() for length in LENGTHS]


def test_a_text_that_is_scored_is_as_probable_as_when_it_was_generated(make_model, shipped, prompts):
    """Also beyond the context, where attention moves on and positions begin anew."""
    model = make_model(shipped, dtype=torch.float64, context=CONTEXT)
    rows = [Row(prompt, seed) for seed, prompt in enumerate(prompts)]
    decoded = decode(model, rows, Decoding(1.3, length=12), CONTEXT)
    texts = [prompt + row.tokens[: 12 - 2 * n] for n, (prompt, row) in enumerate(zip(prompts, decoded, strict=True))]
    for batch_size in (1, 2, 64):
        scored = score(model, texts, CONTEXT, LENGTHS, batch_size)
        for number, (one, row) in enumerate(zip(scored, decoded, strict=True)):
            assert one.log_probs == pytest.approx(row.log_probs[: 12 - 2 * number], abs=1e-9)
            assert one.log_prob == pytest.approx(sum(row.log_probs[: 12 - 2 * number]), abs=1e-9)


def test_the_most_probable_tokens_are_correct(make_model, prompts):
    model = make_model("model=gru", dtype=torch.float64)
    rows = [Row(prompt) for prompt in prompts]
    texts = [
        row.prompt + best.tokens
        for row, best in zip(rows, decode(model, rows, Decoding(greedy=True, length=4), 24), strict=True)
    ]
    for one in score(model, texts, 24, LENGTHS):
        assert one.correct == [True] * 4
        assert one.confidences == pytest.approx(torch.tensor(one.log_probs).double().exp().tolist(), abs=1e-6)
    texts[1][-1] = (texts[1][-1] + 1) % 13
    assert score(model, texts, 24, LENGTHS)[1].correct == [True, True, True, False]


@torch.no_grad()
def test_texts_within_the_context_are_scored_as_by_one_pass_over_each(make_model, prompts):
    model = make_model("model=transformer", "model.dropout=0.5", dtype=torch.float64).train()
    scored = score(model, prompts, 24)
    assert model.training
    model.eval()
    for prompt, one in zip(prompts, scored, strict=True):
        log_probs = model.head.log_probs(model(torch.tensor([prompt])).hidden)[0]
        expected = [float(log_probs[place, token]) for place, token in enumerate(prompt[1:])]
        assert one.log_probs == pytest.approx(expected, abs=1e-9) and len(one.correct) == len(expected)
    assert score(model, [], 24) == []
