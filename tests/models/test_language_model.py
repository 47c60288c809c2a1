"""The contract of every architecture: one function with state, that never looks ahead."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model
from torch import nn

from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.channels.channel import Channel
from lmlab.models.channels.moe import MixtureOfExperts
from lmlab.models.language_model import adopt
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.state import has_room

B, T, VOCABULARY, CONTEXT = 3, 12, 13, 24
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


def some_tokens(length: int = T, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (B, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", TOLERANCE)
@torch.no_grad()
def test_reading_token_by_token_equals_reading_at_once(make_model, architecture, dtype):
    model = make_model(architecture, dtype=dtype)
    tokens = some_tokens()
    for start in (0, 5):  # from an empty state and from a carried one
        state = model(tokens[:, :start])[1] if start else None
        hidden, after, _ = model(tokens[:, start:], state)
        steps = []
        for position in range(start, T):
            step, state, _ = model(tokens[:, position : position + 1], state)
            steps.append(step)
        stepwise = torch.cat(steps, 1)
        torch.testing.assert_close(stepwise, hidden, rtol=0, atol=TOLERANCE[dtype])
        torch.testing.assert_close(
            model.head.log_probs(stepwise), model.head.log_probs(hidden), rtol=0, atol=TOLERANCE[dtype]
        )
        assert state.position.tolist() == after.position.tolist() == [T] * len(tokens)
        for one, other in zip(model_state.tensors(state), model_state.tensors(after), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("overrides", ["model=lstm", "model=transformer model.mixer.kv_heads=2", "model=gpt2"])
@given(cuts=st.sets(st.integers(1, T - 1)))
@settings(max_examples=20)
@torch.no_grad()
def test_reading_in_any_pieces_equals_reading_at_once(make_model, overrides, cuts):
    model = make_model(overrides, dtype=torch.float64)
    tokens = some_tokens()
    state, pieces = None, []
    for start, end in pairwise([0, *sorted(cuts), T]):
        piece, state, _ = model(tokens[:, start:end], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens)[0], rtol=0, atol=1e-10)


@torch.no_grad()
def test_no_logit_depends_on_a_later_token_and_each_on_its_own(make_model, architecture):
    model = make_model(architecture, dtype=torch.float64)
    tokens = some_tokens()
    before = model.head.log_probs(model(tokens)[0])
    for position in range(T):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCABULARY
        difference = (model.head.log_probs(model(changed)[0]) - before).abs().amax((0, 2))
        assert difference[:position].sum() <= 1e-12
        assert difference[position] > 1e-6


def test_gradient_reaches_every_parameter(make_model, architecture):
    model = make_model(architecture, vocabulary=200).train()  # many types, so that every expert reads some of them
    tokens, targets = (
        torch.randint(200, (8, CONTEXT), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    hidden, _, auxiliary = model(tokens)
    loss = model.head.cross_entropy(hidden.flatten(0, 1), targets.flatten())
    (loss + sum(auxiliary.values())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.count_nonzero() > 0, name
        if name == "position_embedding.weight":
            assert (parameter.grad != 0).any(1).all()


def test_gradient_flows_through_a_carried_state_until_it_is_cut(make_model, architecture):
    model = make_model(architecture)
    tokens = some_tokens()
    embedded = []
    model.embedding.register_forward_hook(lambda module, inputs, output: embedded.append(output))
    state = model(tokens[:, :6]).state
    first = embedded[0]
    carried = model(tokens[:, 6:], state).hidden
    (through,) = torch.autograd.grad(carried.square().sum(), first, retain_graph=True)
    assert through.count_nonzero() > 0
    cut = model(tokens[:, 6:], model_state.detach(state)).hidden
    assert torch.autograd.grad(cut.square().sum(), first, allow_unused=True) == (None,)


@torch.no_grad()
def test_state_rows_are_sequences(make_model, architecture):
    model = make_model(architecture, dtype=torch.float64)
    tokens, rows = some_tokens(), torch.tensor([2, 0, 0, 1])
    state = model(tokens[:, :7]).state
    chosen = model(tokens[rows, 7:], model_state.select(state, rows)).hidden
    torch.testing.assert_close(chosen, model(tokens)[0][rows, 7:], rtol=0, atol=1e-12)


@torch.no_grad()
def test_saved_weights_are_loaded_exactly(make_model, tmp_path, shipped):
    model, other = make_model(shipped), make_model(shipped)
    for parameter in other.parameters():
        parameter.zero_()
    save_model(model, str(tmp_path / "model.safetensors"))
    load_model(other, tmp_path / "model.safetensors")
    for (name, saved), loaded in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(saved, loaded), name
    tokens = some_tokens()
    assert torch.equal(model(tokens)[0], other(tokens)[0])


@pytest.mark.parametrize("tied", ["true", "false"])
@pytest.mark.parametrize("head", ["softmax", "mixture_of_softmaxes"])
def test_loaded_weights_are_tied_where_the_saved_ones_were(make_model, tmp_path, head, tied):
    overrides = f"model=lstm head={head} model.tie_embeddings={tied}"
    model, other = make_model(overrides), make_model(overrides)
    save_model(model, str(tmp_path / "model.safetensors"))
    load_model(other, tmp_path / "model.safetensors")
    assert (other.head.linear.weight is other.embedding.weight) == (tied == "true")


def test_a_model_is_built_on_the_meta_device_without_memory(make_model, architecture):
    with torch.device("meta"):
        model = make_model(architecture, "model.width=4096", "model.depth=3", vocabulary=1_000_000)
    assert all(parameter.is_meta for parameter in [*model.parameters(), *model.buffers()])
    hidden = model(torch.zeros(1, 2, dtype=torch.int64, device="meta")).hidden
    assert hidden.shape == (1, 2, 4096)


def test_training_goes_on_after_positions_were_first_seen_in_inference_mode(make_model):
    model = make_model("model=transformer")
    tokens = torch.zeros(1, 19, dtype=torch.int64)
    with torch.inference_mode():
        model(tokens)
    model(tokens)[0].sum().backward()


def test_dropout_acts_in_training_only(make_model, architecture):
    model = make_model(architecture, "model.dropout=0.5")
    tokens = some_tokens()
    assert torch.equal(model(tokens)[0], model(tokens)[0])
    model.train()
    assert not torch.equal(model(tokens)[0], model(tokens)[0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "model=transformer model.mixer.heads=3",
            r"model\.mixer\.heads=3: .*model\.width=16.*nearest that does: (2|4)\)",
        ),
        ("model=transformer model.mixer.heads=0", r"model\.mixer\.heads=0"),
        ("model=transformer model.mixer.kv_heads=3", r"model\.mixer\.kv_heads=3: .*model\.mixer\.heads=4"),
        ("model=transformer model.mixer.heads=16", r"model\.mixer\.heads=16: .*even width per head, not 1"),
        ("model=transformer block=classic", r"block=classic: .*channel=none"),
        ("model=transformer model.channel.ratio=0.0", r"model\.channel\.ratio=0\.0"),
        ("model=gpt2 model.channel.ratio=0.0", r"model\.channel\.ratio=0\.0"),
        ("model=lstm head=mixture_of_softmaxes model.head.factorised=false", r"model\.tie_embeddings=true"),
        ("model=lstm head=mixture_of_softmaxes model.head.components=0", r"model\.head\.components=0"),
        ("model=lstm model.width=0", r"model\.width=0"),
        ("model=lstm model.depth=0", r"model\.depth=0"),
        ("model=lstm model.depth=100000000", r"model\.depth=100000000: expected at most 10000"),
        ("model=moe model.channel.experts=100000000", r"model\.channel\.experts=100000000: expected at most 10000"),
        ("model=awd_lstm model.mixer.layers=100000000", r"model\.mixer\.layers=100000000: expected at most 10000"),
        ("model=lstm model.dropout=1.0", r"model\.dropout=1\.0"),
    ],
)
def test_impossible_combinations_are_refused_by_option(make_model, overrides, message):
    with pytest.raises(UserError, match=message):
        make_model(overrides)


def test_learned_positions_end(make_model):
    model = make_model("model=gpt2", context=8)
    with pytest.raises(UserError, match="9 tokens: .*end at 8"):
        model(some_tokens(9))
    state = model(some_tokens(7)).state
    assert has_room(state, 1, model.max_positions) and not has_room(state, 2, model.max_positions)
    model(some_tokens(1), state)
    with pytest.raises(IndexError):
        model(some_tokens(2), state)


@torch.no_grad()
def test_initial_weights_have_the_documented_scale(make_model):
    depth, width = 8, 256
    model = make_model("model=transformer", f"model.width={width}", f"model.depth={depth}", vocabulary=500)
    std = math.sqrt(2 / (5 * width))
    assert model.embedding.weight.std() == pytest.approx(std, rel=0.02)
    for block in model.blocks:
        assert block.mixer.projection_in.weight.std() == pytest.approx(std, rel=0.02)
        assert block.mixer.projection_out.weight.std() == pytest.approx(std / math.sqrt(2 * depth), rel=0.02)
        assert block.channel.down.weight.std() == pytest.approx(std / math.sqrt(2 * depth), rel=0.02)


@pytest.mark.parametrize("overrides", ["model=transformer", "model=gpt2", "model=lstm block=prenorm"])
@torch.no_grad()
def test_the_scale_of_stream_and_logits_depends_little_on_width_and_depth(make_model, overrides):
    streams, logits = [], []
    for width, depth in [(64, 2), (64, 16), (512, 2), (512, 8)]:
        model = make_model(overrides, f"model.width={width}", f"model.depth={depth}", vocabulary=200)
        seen = []
        model.norm.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        hidden = model(torch.randint(200, (4, 16))).hidden
        streams.append(seen[0].square().mean().sqrt().item())
        logits.append(model.head.linear(hidden).std().item())
    assert max(logits) / min(logits) < 1.2
    if "lstm" not in overrides:  # an LSTM has no matrix after its output that could be made smaller
        assert max(streams) / min(streams) < 1.5


def test_a_pattern_names_the_mixers_of_the_blocks_in_turn(make_model):
    model = make_model(
        "model=custom block=prenorm channel=mlp model.pattern=[lstm,attention+swiglu,lstm+none]", "model.depth=3"
    )
    kinds = [(type(b.mixer).__name__, type(b.channel).__name__) for b in model.blocks]
    assert kinds == [("LSTM", "MLP"), ("Attention", "SwiGLU"), ("LSTM", "NoneType")]
    model = make_model(
        "model=custom block=prenorm model.pattern=[lstm,attention] +model.mixers.attention.heads=2", "model.depth=5"
    )
    assert [type(block.mixer).__name__ for block in model.blocks] == ["LSTM", "Attention", "LSTM", "Attention", "LSTM"]
    assert model.blocks[1].mixer.heads == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("model.pattern=[lstn,attention]", r"model\.pattern=lstn: there is no mixer 'lstn' \(did you mean 'lstm'"),
        ("model.pattern=[lstm+mpl]", r"there is no channel 'mpl' \(did you mean 'mlp'"),
        ("model.pattern=[]", r"model\.pattern=\[\]: expected"),
        ("model.pattern=[lstm] +model.mixers.attention.heads=2", r"model\.mixers\.attention: the pattern has no such"),
    ],
)
def test_a_pattern_of_what_does_not_exist_is_refused(make_model, overrides, message):
    with pytest.raises(UserError, match=message):
        make_model(f"model=custom {overrides}")


NO_VMAP = {
    torch.nn.LSTM: "Batching rule not implemented for aten::lstm",
    torch.nn.GRU: "Batching rule not implemented for aten::gru",
    torch.nn.RNN: "Batching rule not implemented for aten::rnn_tanh",
    MixtureOfExperts: "data pointer",  # how many tokens an expert reads is a number, which differs between the two
}
"""Parts that torch.func.vmap cannot read, and what torch says: mixers lstm, awd_lstm, gru and rnn; channel moe."""


class Predictor(torch.nn.Module):
    """A model with its head."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, state):
        hidden, state, _ = self.model(tokens, state)
        return self.model.head.log_probs(hidden), state


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@torch.no_grad()
def test_two_sets_of_weights_at_once_give_what_each_gives_alone(make_model, architecture):
    """torch.func.vmap over stacked weights, tokens and states."""
    models = [make_model(architecture) for _ in range(2)]
    for parameter in models[1].parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    predictors = [Predictor(model) for model in models]
    both = zip(*(predictor.named_parameters() for predictor in predictors), strict=True)
    weights = {name: torch.stack([one, other]) for (name, one), (_, other) in both}

    def read(weights, tokens, state):
        return torch.func.functional_call(predictors[0], weights, (tokens, state))

    tokens = torch.stack([some_tokens(seed=seed) for seed in (0, 1)])
    if message := next((NO_VMAP[type(part)] for part in models[0].modules() if type(part) in NO_VMAP), None):
        with pytest.raises(RuntimeError, match=message):
            torch.func.vmap(read, (0, 0, None))(weights, tokens[:, :, :5], None)
        return
    first, state = torch.func.vmap(read, (0, 0, None))(weights, tokens[:, :, :5], None)
    second, state = torch.func.vmap(read)(weights, tokens[:, :, 5:], state)
    for number, model in enumerate(models):
        alone, after, _ = model(tokens[number])
        both = torch.cat([first[number], second[number]], 1)
        torch.testing.assert_close(both, model.head.log_probs(alone), rtol=0, atol=1e-5)
        assert state.position[number].tolist() == after.position.tolist()


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x_BTD, state):
        return self.linear(x_BTD), state


class Through(Mixer):
    def forward(self, x_BTD, state):
        return x_BTD, state


def test_a_plain_module_gets_the_methods_that_it_lacks():
    part = Plain()
    weights = list(part.state_dict())
    mixer = adopt(part, Mixer, "model.mixer")
    assert mixer is part and isinstance(mixer, Mixer) and isinstance(mixer, Plain)
    assert mixer.extra_flops(8) == 0 and mixer.state_size(8) is None and mixer.split() is None
    assert list(mixer.state_dict()) == weights and type(mixer).__name__ == "Plain"
    assert mixer(torch.ones(1, 2, 3), None)[0].shape == (1, 2, 3)


def test_its_own_methods_stay():
    class Counting(Plain):
        def extra_flops(self, context):
            return 7 * context

    assert adopt(Counting(), Mixer, "model.mixer").extra_flops(2) == 14


@pytest.mark.parametrize(
    ("name", "right"), [("extra_flop", "extra_flops"), ("statesize", "state_size"), ("splits", "split")]
)
@pytest.mark.parametrize("base", [Plain, Through])
def test_a_misspelt_method_is_refused(base, name, right):
    own = type("Own", (base,), {name: lambda self, context: 1})
    with pytest.raises(UserError, match=rf"^model\.mixer: Own\.{name}: did you mean {right}\?$"):
        adopt(own(), Mixer, "model.mixer")


def test_other_names_are_free():
    names = {"forward": lambda self, x_BTD: x_BTD, "flops": 3, "gate": lambda self: 1, "_split": 1, "stated": 2}
    own = type("Own", (Channel,), names)
    assert adopt(own(), Channel, "model.channel").gate() == 1
