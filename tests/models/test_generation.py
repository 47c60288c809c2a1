import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode, generate
from lmlab.models.reading import tokens_left_out

CONTEXT = 24


def text(model, decoding=None, length=15, prompt=((1, 2, 3), (4, 5, 6)), context=CONTEXT, seed=1):
    rows = [Row(row, seed + number) for number, row in enumerate(prompt)]
    return torch.tensor(texts(model, rows, length, decoding, context))


def texts(model, rows, length=15, decoding=None, context=CONTEXT):
    """The tokens of every row."""
    drawn = [[] for _ in rows]
    for row, token, _ in generate(model, rows, replace(decoding or Decoding(), length=length), context):
        drawn[row].append(token)
    return drawn


@torch.no_grad()
def test_greedy_text_is_the_most_probable_token_after_rereading_everything(make_model, architecture):
    model = make_model(architecture, dtype=torch.float64)
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    for _ in range(15):
        best = model.head.log_probs(model(tokens)[0][:, -1]).argmax(1)
        tokens = torch.cat([tokens, best[:, None]], 1)
    assert torch.equal(text(model, Decoding(greedy=True)), tokens[:, 3:])


@torch.no_grad()
def test_a_recurrent_model_generates_beyond_its_context_as_if_it_had_none(make_model):
    model = make_model("model=lstm", dtype=torch.float64)
    assert torch.equal(text(model, Decoding(), context=4), text(model, Decoding(), context=CONTEXT))


def reading_all(model, prompt):
    """The token that is most probable after all of a prompt, by way of one forward pass."""
    return int(model.head.log_probs(model(torch.tensor([prompt]))[0][:, -1]).argmax())


@pytest.mark.parametrize("overrides", ["model=lstm", "model=mamba2", "model=hybrid", "model=hawk"])
@torch.no_grad()
def test_a_recurrent_model_reads_all_of_a_prompt_whatever_its_context(make_model, overrides):
    model = make_model(overrides, dtype=torch.float64)
    prompts = torch.randint(13, (12, 20))
    read = [text(model, Decoding(greedy=True), 1, [prompt.tolist()], 20) for prompt in prompts]
    assert [int(token) for token in read] == [reading_all(model, prompt.tolist()) for prompt in prompts]
    assert tokens_left_out(model, 20, context=4) == 0
    seen = [text(model, None, 1, [[s % 13] + [1] * 11], context=4, seed=s) for s in range(13)]
    if overrides != "model=hybrid":  # in which attention sees no more than its context
        whole = [text(model, None, 1, [[s % 13] + [1] * 11], seed=s) for s in range(13)]
        assert [int(token) for token in seen] == [int(token) for token in whole]


@torch.no_grad()
def test_a_hybrid_reads_a_long_prompt_as_what_it_generates_itself(make_model):
    model = make_model("model=hybrid", dtype=torch.float64)
    written = text(model, Decoding(greedy=True), 12, [[1, 2, 3]], context=5)
    prompt = torch.cat([torch.tensor([[1, 2, 3]]), written[:, :9]], 1)
    again = text(model, Decoding(greedy=True), 3, prompt.tolist(), context=5)
    assert torch.equal(again, written[:, 9:])


ATTENTION = [
    "model=transformer",
    "model=transformer model.block.token_shift=0.3",
    "model=gpt2",
    "model=hf model.architecture=llama",
    "model=lstm model.positions=learned",
]


@pytest.mark.parametrize("overrides", ATTENTION)
def test_a_model_that_sees_its_context_only_leaves_out_the_start_of_a_prompt(make_model, overrides):
    model = make_model(overrides, context=5)
    prompt = torch.randint(13, (1, 12))
    assert tokens_left_out(model, 12, 5) == 7
    assert tokens_left_out(model, 5, 5) == 0
    assert torch.equal(
        text(model, Decoding(), prompt=prompt.tolist(), context=5),
        text(model, Decoding(), prompt=prompt[:, -5:].tolist(), context=5),
    )


@pytest.mark.parametrize("greedy", [True, False])
def test_a_network_that_predicts_no_numbers_is_refused(make_model, greedy):
    model = make_model("model=lstm")
    with torch.no_grad():
        model.embedding.weight[3] = torch.nan
    with pytest.raises(UserError, match=r"predicts NaN.*diverged"):
        text(model, Decoding(greedy=greedy))


@torch.no_grad()
def test_a_seed_means_a_text(make_model, architecture):
    model = make_model(architecture)
    first = text(model, seed=1)
    torch.rand(1)  # other draws do not matter
    assert torch.equal(first, text(model, seed=1))
    assert not torch.equal(first, text(model, seed=-1))


LENGTHS = (3, 3, 1, 7, 20)


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(greedy=True, length=12),
        Decoding(1.3, top_k=9, top_p=0.9, length=12),
    ],
)
@torch.no_grad()
def test_a_row_is_the_same_alone_and_among_others(make_model, shipped, decoding):
    """Prompts of unequal length, one longer than the context; two rows of one prompt; rows that end early."""
    model = make_model(shipped, dtype=torch.float64, context=8)
    drawn = torch.Generator().manual_seed(0)
    prompts = [torch.randint(13, (length,), generator=drawn).tolist() for length in LENGTHS]
    prompts[1] = prompts[0]
    alone = [texts(model, [Row(prompt, seed)], 12, decoding, 8)[0] for seed, prompt in enumerate(prompts)]
    rows = [Row(prompt, seed) for seed, prompt in enumerate(prompts)]
    assert texts(model, rows, 12, decoding, 8) == alone

    rows = [Row(prompt, seed) for seed, prompt in enumerate(prompts)]
    together = [[] for _ in rows]
    for row, token, _ in generate(model, rows, decoding, 8):
        together[row].append(token)
        rows[row].ended = len(together[row]) == 2 * row + 1
    assert together == [tokens[: 2 * row + 1] for row, tokens in enumerate(alone)]

    # Stop tokens of each row's own: the one that it draws at a place of its own, one that it never draws, none.
    stops = [{tokens[2 * row]} for row, tokens in enumerate(alone)]
    stops[3], stops[4] = set(range(13)) - set(alone[3]), set()
    ends = [
        min((n + 1 for n, token in enumerate(t) if token in s), default=12) for t, s in zip(alone, stops, strict=True)
    ]
    rows = [Row(prompt, seed, stops[seed]) for seed, prompt in enumerate(prompts)]
    one_by_one = [decode(model, [row], decoding, 8)[0] for row in rows]
    assert [row.tokens for row in one_by_one] == [tokens[:end] for tokens, end in zip(alone, ends, strict=True)]
    assert [row.ended_by for row in one_by_one] == ["stop", "stop", "stop", "length", "length"]
    for batch_size in (2, 64):
        for row, single in zip(decode(model, rows, decoding, 8, batch_size), one_by_one, strict=True):
            assert (row.tokens, row.ended_by) == (single.tokens, single.ended_by)
            assert row.log_probs == pytest.approx(single.log_probs, abs=1e-9)


@torch.no_grad()
def test_a_stop_token_is_part_of_a_continuation_and_not_of_its_text(make_model):
    model = make_model("model=gru", dtype=torch.float64)
    (whole,) = decode(model, [Row([1, 2], 3)], Decoding(length=8), CONTEXT)
    assert whole.text_tokens == whole.tokens and whole.ended_by == "length"
    (stopped,) = decode(model, [Row([1, 2], 3, [whole.tokens[4]])], Decoding(length=8), CONTEXT)
    end = whole.tokens.index(whole.tokens[4])
    assert stopped[:3] == (whole.tokens[: end + 1], whole.log_probs[: end + 1], "stop")
    assert stopped.score == sum(stopped.log_probs)
    assert stopped.text_tokens == whole.tokens[:end]
    shorter, whole_again = decode(
        model, [Row([1, 2], 3, length=2), Row([1, 2], 3, length=9)], Decoding(length=8), CONTEXT
    )
    assert shorter.tokens == whole.tokens[:2] and shorter.ended_by == "length" and whole_again.tokens == whole.tokens
    assert decode(model, [], Decoding(length=8), CONTEXT) == []


def test_decoding_in_the_middle_of_training_leaves_model_and_rows_as_they_were(make_model):
    model = make_model("model=transformer", "model.dropout=0.5")
    rows = [Row([1, 2, 3], 1, [4]), Row([5], 2)]
    expected = decode(model, rows, Decoding(length=6), CONTEXT)
    model.train()
    model.blocks[1].eval()
    assert decode(model, rows, Decoding(length=6), CONTEXT) == expected  # also: the rows draw the same once more
    assert model.training and model.blocks[0].mixer.training and not model.blocks[1].mixer.training
    assert not any(row.ended for row in rows) and model.embedding.weight.grad is None
    with torch.no_grad():
        model.embedding.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="predicts NaN"):
        decode(model, rows, Decoding(length=6), CONTEXT)
    assert model.training and not model.blocks[1].training


@torch.no_grad()
def test_rows_that_have_ended_are_not_read_any_more(make_model):
    model = make_model("model=lstm")
    read = []
    model.register_forward_pre_hook(lambda module, inputs: read.append(tuple(inputs[0].shape)))
    everything = range(13)
    decode(model, [Row([1, 2], 1, everything), Row([3, 4], 2), Row([5, 6], 3, everything)], Decoding(length=4), CONTEXT)
    assert read == [(3, 2), (1, 1), (1, 1), (1, 1)]


@torch.no_grad()
def test_the_prompt_of_several_rows_is_read_once(make_model):
    model = make_model("model=transformer")
    read = []
    model.register_forward_pre_hook(lambda module, inputs: read.append(tuple(inputs[0].shape)))
    texts(model, [Row([1, 2, 3, 4], seed) for seed in range(5)], 3)
    assert read == [(1, 4), (5, 1), (5, 1)]


@torch.no_grad()
def test_log_probabilities_are_those_of_the_model_whatever_the_sampler(make_model):
    model = make_model("model=gru", dtype=torch.float64)
    rows = [Row([1, 2, 3]), Row([4])]
    for row, token, log_prob in generate(
        model, rows, Decoding(0.2, top_k=3, length=5, repetition_penalty=3.0), CONTEXT
    ):
        log_probs = model.head.log_probs(model(torch.tensor([rows[row].prompt]))[0][0, -1])
        assert log_prob == pytest.approx(float(log_probs[token]), abs=1e-9)
        rows[row].prompt = [*rows[row].prompt, token]


@pytest.mark.parametrize("context", [1, 2, 8])
@pytest.mark.parametrize(
    "overrides", ["model=gpt2", "model=transformer", "model=lstm", "model=lstm model.positions=learned"]
)
def test_text_goes_on_beyond_the_context_in_constant_memory(make_model, overrides, context):
    model = make_model(overrides, context=context)
    read, carried = [], []
    model.register_forward_pre_hook(lambda module, inputs: carried.append(model_state.size_in_bytes(inputs[1])))
    model.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0].shape[1]))
    made = text(model, length=5 * context, prompt=[[1] * (context + 3)], context=context)
    assert made.shape == (1, 5 * context)
    assert max(read) <= context
    full = make_model(overrides, context=context)(torch.zeros(1, context, dtype=torch.int64)).state
    assert max(carried) <= model_state.size_in_bytes(full)


@torch.no_grad()
def test_attention_sees_as_many_tokens_as_in_training(make_model):
    model = make_model("model=transformer", "model.depth=1", dtype=torch.float64)
    made = text(model, Decoding(greedy=True), length=20, prompt=[[1, 2, 3]], context=5)
    tokens = torch.cat([torch.tensor([[1, 2, 3]]), made], 1)
    for end in range(8, tokens.shape[1]):  # in one layer a rotary position counts only by its distance
        best = model.head.log_probs(model(tokens[:, end - 5 : end])[0][:, -1]).argmax(1)
        assert best == tokens[:, end]


@torch.no_grad()
def test_tokens_of_the_text_are_less_probable_with_a_repetition_penalty(make_model):
    """Prompts of unequal length, against reading everything again; the stop token is not penalised."""
    model = make_model("model=gru", dtype=torch.float64)
    prompts = [[1, 2, 3], [4, 4, 7, 1, 5, 0, 6], [3]]
    expected = []
    for prompt in prompts:
        tokens = list(prompt)
        for _ in range(12):
            log_probs = model.head.log_probs(model(torch.tensor([tokens])).hidden[0, -1])
            for token in set(tokens) - {7}:
                log_probs[token] *= 1.5
            tokens.append(int(log_probs.argmax()))
            if tokens[-1] == 7:
                break
        expected.append(tokens[len(prompt) :])
    decoding = Decoding(greedy=True, length=12, repetition_penalty=1.5)
    rows = [Row(prompt, stop=[7]) for prompt in prompts]
    assert [row.tokens for row in decode(model, rows, decoding, CONTEXT)] == expected
    without = decode(model, rows, replace(decoding, repetition_penalty=1.0), CONTEXT)
    assert [row.tokens for row in without] != expected


def test_a_text_ends_where_its_row_says(make_model):
    model = make_model("model=gru", dtype=torch.float64)
    (whole,) = decode(model, [Row([1, 2], 3)], Decoding(length=8), CONTEXT)
    last = whole.tokens[3:5]
    row = Row([1, 2], 3, ends=lambda tokens: tokens[-2:] == last)
    (ended,) = decode(model, [row], Decoding(length=8), CONTEXT)
    assert ended.tokens == whole.tokens[:5] == ended.text_tokens and ended.ended_by == "text"


def allowed(scores: list[float], top_k: int | None, top_p: float | None) -> set[int]:
    """Slowly: which tokens remain, the most probable first."""
    order = sorted(range(len(scores)), key=lambda token: -scores[token])[:top_k]
    if top_p is None:
        return set(order)
    weights = [2.718281828459045 ** scores[token] for token in order]
    kept, mass = set(), 0.0
    for token, weight in zip(order, weights, strict=True):
        if kept and mass >= top_p - 1e-9:
            break
        kept.add(token)
        mass += weight / sum(weights)
    return kept


@given(
    st.lists(st.integers(-60, 60), min_size=1, max_size=8, unique=True),
    st.none() | st.integers(1, 10),
    st.none() | st.integers(1, 19).map(lambda twentieths: twentieths / 20 + 0.003),
)
def test_top_k_and_top_p_keep_what_they_should(tenths, top_k, top_p):
    scores = torch.tensor([tenths], dtype=torch.float64) / 10
    restricted = Decoding(top_k=top_k, top_p=top_p).restrict(scores)[0]
    kept = set(torch.isfinite(restricted).nonzero()[:, 0].tolist())
    assert kept == allowed(scores[0].tolist(), top_k, top_p)
    assert torch.equal(restricted[sorted(kept)], scores[0, sorted(kept)])


def test_tokens_are_drawn_as_often_as_they_are_probable():
    log_probs = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    draws = [random.Random(seed).random() for seed in range(20_000)]
    shares = Decoding().choose(log_probs, draws).bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, log_probs[0].exp(), rtol=0, atol=0.015)
    sharper = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    shares = Decoding(temperature=0.5).choose(log_probs, draws).bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, sharper / sharper.sum(), rtol=0, atol=0.015)
    assert set(Decoding(top_k=2).choose(log_probs, draws).tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(option, value):
    with pytest.raises(UserError, match=f"{option}={value}"):
        Decoding(**{option: value})
