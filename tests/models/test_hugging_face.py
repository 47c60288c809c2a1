import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmlab.errors import UserError
from lmlab.models import hugging_face
from lmlab.models import state as model_state
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import generate
from lmlab.models.hugging_face import HuggingFace
from lmlab.models.sizes import flops_per_token, grows_with_context, state_bytes

transformers = pytest.importorskip("transformers")

V, C, B, T = 13, 24, 3, 11

MODELS = {
    "gpt2": {},
    "llama": {"num_key_value_heads": 2},
    "opt": {"activation_function": "gelu"},
    "bloom": {},
    "mistral": {"sliding_window": 4},
    "gemma2": {"sliding_window": 4, "final_logit_softcapping": 0.05},
    "granite": {"logits_scaling": 7.0},
    "mamba": {},
    "mamba2": {"state_size": 8, "chunk_size": 8},
    "qwen3_next": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 4, "mamba_d_state": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
}
"""Fields of the configuration of one model of each kind: how positions enter, windows, heads, recurrences, mixtures."""


def make(architecture: str, config: dict | None = None, **options: int) -> HuggingFace:
    torch.manual_seed(0)
    config = MODELS[architecture] | (config or {})
    return HuggingFace(V, C, architecture=architecture, config=config, **({"width": 16, "depth": 2} | options)).eval()


def some_tokens(length: int = T) -> torch.Tensor:
    return torch.randint(V, (B, length), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return make(request.param)


@torch.no_grad()
def test_log_probs_are_the_librarys_own(model):
    torch.manual_seed(0)
    whole = transformers.AutoModelForCausalLM.from_config(model.config).eval()
    base = {f"{whole.base_model_prefix}.{name}": tensor for name, tensor in model.network.state_dict().items()}
    whole.load_state_dict(base | model.head.causal.state_dict())
    expected = whole(some_tokens(), use_cache=False).logits.log_softmax(-1)
    hidden = model(some_tokens()).hidden
    torch.testing.assert_close(model.head.log_probs(hidden), expected, rtol=0, atol=1e-5)
    targets = some_tokens().flatten()
    nats = -expected.flatten(0, 1).gather(1, targets[:, None]).mean()
    torch.testing.assert_close(model.head.cross_entropy(hidden.flatten(0, 1), targets), nats, rtol=0, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("pieces", [(1,) * T, (5, 1, 5), (2, 9), (7, 4)])
@torch.no_grad()
def test_reading_in_pieces_equals_reading_at_once_and_leaves_states_alone(model, pieces):
    tokens = some_tokens()
    whole, after, _ = model(tokens)
    state, parts = None, []
    for piece in tokens.split(pieces, 1):
        before = [tensor.clone() for tensor in model_state.tensors(state)]
        part, following, _ = model(piece, state)
        again = model(piece, state).hidden
        assert torch.equal(part, again)
        assert all(map(torch.equal, model_state.tensors(state), before))
        state = following
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-4 * whole.abs().max().item())
    assert state.position.tolist() == after.position.tolist() == [T] * len(tokens)


@torch.no_grad()
def test_no_hidden_vector_depends_on_a_later_token(model):
    tokens = some_tokens()
    before = model(tokens).hidden
    for position in (3, 8):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % V
        difference = (model(changed)[0] - before).abs().amax((0, 2))
        assert difference[:position].max() <= 1e-5 < difference[position]


def test_gradients_flow_through_a_carried_state_as_through_the_whole_sequence(model):
    tokens, embedded = some_tokens(6), []
    hook = model.embedding.register_forward_hook(lambda module, inputs, output: embedded.append(output))
    state = model(tokens[:, :3]).state
    carried = model(tokens[:, 3:], state).hidden
    whole = model(tokens).hidden
    hook.remove()
    (through,) = torch.autograd.grad(carried.square().sum(), embedded[0])
    (expected,) = torch.autograd.grad(whole[:, 3:].square().sum(), embedded[-1])
    tolerance = 1e-4 * expected.abs().max().item()
    torch.testing.assert_close(through, expected[:, :3], rtol=1e-3, atol=tolerance)
    assert expected[:, :3].count_nonzero() > 0


@torch.no_grad()
def test_rows_of_a_state_are_sequences_and_its_size_is_declared(model):
    tokens, rows = some_tokens(), torch.tensor([2, 0, 0, 1])
    for length in (1, 3, 7):
        state = model(tokens[:, :length]).state
        assert state_bytes(model, length) * B == model_state.size_in_bytes(state)
    chosen = model(tokens[rows, 7:], model_state.select(state, rows)).hidden
    torch.testing.assert_close(chosen, model(tokens)[0][rows, 7:], rtol=0, atol=1e-4 * chosen.abs().max().item())


@torch.no_grad()
def test_text_goes_on_beyond_the_context_with_a_cropped_state(model):
    prompts = [tokens[:length].tolist() for tokens, length in zip(some_tokens(4), (4, 1, 3), strict=False)]

    def texts(rows):
        drawn = list(generate(model, rows, Decoding(greedy=True, length=C + 9), context=7))
        return [[token for row, token, _ in drawn if row == number] for number in range(len(rows))]

    together = texts([Row(prompt) for prompt in prompts])
    assert [len(tokens) for tokens in together] == [C + 9] * 3
    assert together == [texts([Row(prompt)])[0] for prompt in prompts]


@pytest.mark.parametrize("kind", ["llama", "mistral"])
@torch.no_grad()
def test_a_cropped_cache_is_that_of_a_shorter_memory(kind):
    # With one block, what a token sees is its keys: cropping to the last four is reading the last four only, because
    # rotary positions are relative.
    model = make(kind, depth=1, config={} if kind == "llama" else {"sliding_window": 9})
    tokens = some_tokens()
    for length in (4, 8):
        state = model_state.crop(model(tokens[:, :-1])[1], length)
        shorter = model(tokens[:, -1 - length :]).hidden
        torch.testing.assert_close(model(tokens[:, -1:], state)[0], shorter[:, -1:], rtol=0, atol=1e-4)


@torch.no_grad()
def test_saved_weights_are_loaded_exactly(model, tmp_path):
    other = make(model.config.model_type)
    save_model(model, str(tmp_path / "model.safetensors"))
    for parameter in other.parameters():
        parameter.zero_()
    load_model(other, tmp_path / "model.safetensors")
    assert torch.equal(other(some_tokens())[0], model(some_tokens())[0])


@torch.no_grad()
def test_a_checkpoint_with_a_second_name_of_the_last_layer_is_loaded():
    model, other = make("gpt2"), make("gpt2")
    for parameter in other.parameters():
        parameter.zero_()
    weight = model.head.linear.weight
    assert [name for name, tensor in model.state_dict().items() if name.startswith("head") and "linear" in name] == []
    other.load_state_dict({**model.state_dict(), "head.linear.weight": weight})
    assert torch.equal(other.head.linear.weight, weight)
    assert torch.equal(other(some_tokens())[0], model(some_tokens())[0])


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "mamba"])
@torch.no_grad()
def test_a_checkpoint_folder_is_read(kind, tmp_path):
    whole = transformers.AutoModelForCausalLM.from_config(make(kind).config).eval()
    whole.save_pretrained(tmp_path)
    model = HuggingFace(V - 1, C, path=str(tmp_path)).eval()
    expected = whole(some_tokens() % (V - 1)).logits.log_softmax(-1)
    read = model.head.log_probs(model(some_tokens() % (V - 1))[0])
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-5)
    with torch.device("meta"):
        assert all(p.is_meta for p in HuggingFace(V, C, path=str(tmp_path)).parameters())
    with pytest.raises(UserError, match=f"it has {V} types, but the tokenizer has 99"):
        HuggingFace(99, C, path=str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.path=.*cannot build it"):
        HuggingFace(V, C, path=str(tmp_path))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2"])
@torch.no_grad()
def test_operations_agree_with_the_frameworks_counter(kind):
    model = make(kind, width=64, config={"attn_logit_softcapping": None} if kind == "gemma2" else {})
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.head.log_probs(model(torch.zeros(2, C, dtype=torch.int64))[0])
    assert flops_per_token(model, C) == pytest.approx(counter.get_total_flops() / (2 * C), rel=0.02)


def test_what_grows_is_known():
    grows = {name: grows_with_context(make(name)) for name in MODELS}
    assert {name for name, value in grows.items() if not value} == {"mistral", "mamba", "mamba2"}


def test_sizes_and_positions_are_those_asked_for():
    model = make("llama", width=32, depth=3, heads=2, config={"intermediate_size": 24})
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.head_dim) == (32, 3, 16)
    assert (config.intermediate_size, config.vocab_size, model.max_positions) == (24, V, None)
    assert make("gpt2").max_positions == make("opt").max_positions == C
    assert make("gpt2", config={"n_positions": 50}).max_positions == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "lama"}, r"model\.architecture=lama: .*did you mean 'llama'"),
        ({"config": {"n_layers": 3}}, r"model\.config\.n_layers=3: gpt2 has no such field \(did you mean 'n_layer'"),
        ({"config": {"n_positions": 8}}, r"batch\.context=24: .*end at 8"),
        ({"config": {"vocab_size": 8}}, r"model\.config\.vocab_size: the tokenizer decides"),
        ({"heads": 3}, r"model\.heads=3: must divide model\.width=16"),
        ({"width": 0}, r"model\.width=0: expected at least 1"),
        ({"dropout": 1.0}, r"model\.dropout=1\.0: expected"),
        ({"architecture": "mamba", "dropout": 0.1}, r"model\.dropout=0\.1: .*has no dropout"),
        ({"architecture": "llama", "config": {"num_key_value_heads": 3}}, r"model\.architecture=llama: "),
        ({"architecture": "rwkv"}, r"model\.architecture=rwkv: .*cache"),
        (
            {"architecture": "recurrent_gemma", "depth": 3},
            r"model\.architecture=recurrent_gemma: .*not all in the library's cache",
        ),
        ({"architecture": "roberta"}, r"model\.architecture=roberta: its positions do not count from 0"),
        ({"architecture": "gemma3"}, r"model\.architecture=gemma3: .*choose the text model in it: gemma3_text"),
        ({"path": "/nowhere"}, r"model\.path=/nowhere: expected a folder with a config\.json"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        HuggingFace(V, C, **{"width": 16, "depth": 2, "heads": 4} | options)


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setattr(hugging_face, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"model=hf: needs the package transformers \(pip install 'lmlab\[hf\]'\)"):
        HuggingFace(V, C)


def test_the_library_is_imported_only_when_a_model_is_made():
    code = "import sys, lmlab.models.hugging_face; assert not any(n.startswith('transformers') for n in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
