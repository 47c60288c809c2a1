import sys
from types import ModuleType

import pytest
import torch
from torch.nn.functional import normalize, silu, softplus
from torch.utils.flop_counter import FlopCounterMode

from lmlab.errors import UserError
from lmlab.models.mixers.chunks import kernels_fit, kernels_installed
from lmlab.models.mixers.gated_deltanet import GatedDeltaNet, _fused, gated_delta_rule

B, T, D = 2, 23, 8

OPTIONS = [
    {},
    {"heads": 2, "chunk_length": 4, "negative_eigenvalues": True},
    {"heads": 3, "key_ratio": 1.5, "value_ratio": 0.5, "chunk_length": 8, "taps": 1},
]


def a_mixer(**options) -> GatedDeltaNet:
    torch.manual_seed(0)
    mixer = GatedDeltaNet(D, **options).double()
    torch.nn.init.normal_(mixer.gain)
    torch.nn.init.normal_(mixer.projection_in.weight)
    return mixer


def some_tokens(K: int = 5, V: int = 3, H: int = 2, length: int = T, dtype=torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    q, k, v = torch.randn(B, length, H, K), torch.randn(B, length, H, K), torch.randn(B, length, H, V)
    log_alpha, beta = -torch.rand(B, length, H), 2 * torch.rand(B, length, H)
    return [part.to(dtype) for part in (normalize(q, dim=-1), normalize(k, dim=-1), v, log_alpha, beta)]


def token_by_token(mixer: GatedDeltaNet, x_BTD: torch.Tensor) -> torch.Tensor:
    """Yang et al. 2024, equation 10, as it stands there: one sequence, token and head at a time."""
    H, K, V, taps = mixer.heads, mixer.key_width, mixer.value_width, mixer.convolution.taps
    out = torch.zeros_like(x_BTD)
    for b, sequence in enumerate(x_BTD):
        seen, states = torch.zeros(taps - 1, H * (2 * K + V)).double(), torch.zeros(H, V, K).double()
        for t, token in enumerate(sequence):
            mixed, z, p, raw = (mixer.projection_in.weight @ token).split([H * (2 * K + V), H * V, H, H])
            seen = torch.cat([seen, mixed[None]])[-taps:]
            q, k, v = silu((seen * mixer.convolution.weight[:, 0].T).sum(0)).split([H * K, H * K, H * V])
            seen = seen[1:]
            ys = []
            for h in range(H):
                alpha = torch.exp(-mixer.decay.log_rate[h].exp() * softplus(p[h] + mixer.decay.step_bias[h]))
                beta = mixer.largest_beta * raw[h].sigmoid()
                own_q, own_k = (part[h * K :][:K] / (part[h * K :][:K].square().sum() + 1e-6).sqrt() for part in (q, k))
                erase = torch.eye(K, dtype=torch.float64) - beta * own_k.outer(own_k)
                states[h] = alpha * states[h] @ erase + beta * v[h * V :][:V].outer(own_k)
                o = states[h] @ own_q
                ys.append(mixer.gain * o / (o.square().mean() + 1e-5).sqrt() * silu(z[h * V :][:V]))
            out[b, t] = mixer.projection_out.weight @ torch.cat(ys)
    return out


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_it_is_the_recurrence_token_by_token(options):
    mixer, x_BTD = a_mixer(**options), torch.randn(B, T, D, dtype=torch.float64)
    expected = token_by_token(mixer, x_BTD)
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=0, atol=1e-10)
    pieces, state = [], None
    for start, end in ((0, 1), (1, 10), (10, T)):
        piece, state = mixer(x_BTD[:, start:end], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"])
@torch.no_grad()
def test_the_rule_is_that_of_transformers(form):
    modeling = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    tokens = some_tokens(dtype=torch.float32)
    state = torch.randn(B, 2, 5, 3)
    o, after = gated_delta_rule(*tokens, state, 6)
    tokens[0] = tokens[0] * tokens[0].shape[-1] ** 0.5  # it divides queries by that root
    expected, expected_after = getattr(modeling, form)(*tokens, initial_state=state, output_final_state=True)
    torch.testing.assert_close(o, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(after, expected_after, rtol=0, atol=1e-5)


def test_the_length_of_chunks_changes_neither_results_nor_gradients():
    mixer, x_BTD = a_mixer(heads=2), torch.randn(B, T, D, dtype=torch.float64)
    found = []
    for chunk_length in (1, 2, 7, 8, T, 64):
        mixer.chunk_length = chunk_length
        y_BTD, (_, state) = mixer(x_BTD, None)
        found.append([y_BTD, state, *torch.autograd.grad(y_BTD.square().sum(), list(mixer.parameters()))])
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=1e-9, atol=1e-9)


def test_the_hardest_triangular_system_is_solved_in_float32():
    # The same key in every token, beta = 2, no decay: powers of this matrix, of which its inverse is a sum, reach 1e28.
    q, k, v, log_alpha, beta = some_tokens(length=128)
    k, log_alpha, beta = k[:, :1].expand_as(k), log_alpha * 0, beta * 0 + 2
    exact, _ = gated_delta_rule(q, k, v, log_alpha, beta, torch.zeros(B, 2, 5, 3).double(), 1)
    tokens = [part.float().requires_grad_() for part in (q, k, v, log_alpha, beta)]
    chunked, _ = gated_delta_rule(*tokens, torch.zeros(B, 2, 5, 3), 64)
    torch.testing.assert_close(chunked.double(), exact, rtol=0, atol=1e-3)
    for gradient in torch.autograd.grad(chunked.sum(), tokens):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("negative_eigenvalues", "eigenvalue"), [(False, 0.0), (True, -1.0)])
@torch.no_grad()
def test_the_smallest_eigenvalue_of_a_step_is_0_or_minus_1(negative_eigenvalues, eigenvalue):
    mixer = a_mixer(heads=1, negative_eigenvalues=negative_eigenvalues, taps=1)
    K, V = mixer.key_width, mixer.value_width
    x = torch.randn(1, 1, D, dtype=torch.float64)
    mixer.projection_in.weight[2 * K : 2 * K + V] = 0  # no value is written
    mixer.projection_in.weight[-1] = 1e3 * x[0, 0]  # beta at its largest
    mixer.decay.step_bias.fill_(-1e3)  # no decay, whatever the input
    mixer.projection_in.weight[-2] = 0
    identity = torch.eye(K, dtype=torch.float64)
    columns = torch.cat([identity, torch.zeros(K, max(0, V - K)).double()], 1)[None, None]
    _, (_, after) = mixer(x, (torch.zeros(1, 0, 2 * K + V).double(), columns))
    found = torch.linalg.eigvalsh(after[0, 0, :, :K])
    assert found[0].item() == pytest.approx(eigenvalue, abs=1e-5)
    torch.testing.assert_close(found[1:], torch.ones(K - 1).double())


@torch.no_grad()
def test_under_autocast_the_state_keeps_its_precision():
    mixer = a_mixer(heads=2).float()
    torch.nn.init.normal_(mixer.projection_in.weight, std=D**-0.5)
    x_BTD = torch.randn(B, T, D)
    with torch.autocast("cpu", torch.bfloat16):
        y_BTD, (_, state) = mixer(x_BTD, None)
    exact, (_, exact_state) = mixer(x_BTD, None)
    assert state.dtype == torch.float32
    torch.testing.assert_close(state, exact_state, rtol=0, atol=0.02)
    torch.testing.assert_close(y_BTD.float(), exact, rtol=0, atol=0.1)


def test_gradients_are_those_of_finite_differences():
    mixer = GatedDeltaNet(2, heads=1, key_ratio=1.0, chunk_length=2, taps=2, negative_eigenvalues=True).double()
    torch.nn.init.normal_(mixer.projection_in.weight)
    state = (torch.randn(1, 1, 7).double().requires_grad_(), torch.randn(1, 1, 2, 3).double().requires_grad_())
    x_BTD = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)

    def run(x, last, before, *parameters):
        names = [name for name, _ in mixer.named_parameters()]
        y, after = torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (x, (last, before)))
        return y, *after

    assert torch.autograd.gradcheck(run, (x_BTD, *state, *mixer.parameters()))


def test_a_layer_has_six_times_the_square_of_the_width_in_weights():
    layer = GatedDeltaNet(128)
    assert layer.projection_in.weight.numel() + layer.projection_out.weight.numel() == 6 * 128**2 + 2 * 4 * 128


@pytest.mark.parametrize("context", [1, 7, 32, 33, 128])
@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_operations_are_those_that_the_framework_counts(context, options):
    mixer = GatedDeltaNet(16, **options)
    with FlopCounterMode(display=False) as counter:
        mixer(torch.zeros(1, context, 16), None)
    matrices = sum(p.numel() for p in mixer.parameters() if p.ndim >= 2)
    assert 2 * matrices + mixer.extra_flops(context) == pytest.approx(counter.get_total_flops() / context, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, r"model\.mixer\.heads=0: expected at least 1"),
        ({"taps": 0}, r"model\.mixer\.taps=0: expected at least 1"),
        ({"chunk_length": 0}, r"model\.mixer\.chunk_length=0: expected at least 1"),
        ({"key_ratio": 0.1}, r"model\.mixer\.key_ratio=0\.1: .*model\.mixer\.heads=4 no width \(smallest .*: 0\.5\)"),
        ({"value_ratio": 0.0}, r"model\.mixer\.value_ratio=0\.0: .*\(smallest that leaves one: 0\.5\)"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        GatedDeltaNet(D, **options)


def test_logits_and_gradients_start_at_a_scale_that_depth_hardly_changes(make_model):
    logits, gradients = [], []
    for depth in (2, 16):
        model = make_model("model=gated_deltanet", "model.width=64", f"model.depth={depth}", vocabulary=100)
        embedded = []
        model.embedding.register_forward_hook(lambda module, inputs, output, kept=embedded: kept.append(output))
        tokens = torch.randint(100, (2, 33))
        hidden = model(tokens[:, :-1]).hidden
        loss = model.head.cross_entropy(hidden.flatten(0, 1), tokens[:, 1:].flatten()).mean()
        gradients.append(torch.autograd.grad(loss, embedded[0])[0].norm().item())
        logits.append(model.head.linear(hidden).std().item())
    assert max(logits) / min(logits) < 1.2
    assert max(gradients) / min(gradients) < 1.3


def test_the_kernel_is_called_as_it_documents_itself(monkeypatch):
    modeling = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")

    def chunk_gated_delta_rule(q, k, v, g, beta, scale, initial_state, output_final_state):
        """What it says: transformers' function has its arguments, but for the scale."""
        q = q * scale * q.shape[-1] ** 0.5
        return modeling.torch_recurrent_gated_delta_rule(q, k, v, g, beta, initial_state, output_final_state)

    package = ModuleType("fla.ops.gated_delta_rule")
    package.chunk_gated_delta_rule = chunk_gated_delta_rule
    for name in ("fla", "fla.ops", "fla.ops.gated_delta_rule"):
        monkeypatch.setitem(sys.modules, name, package)
    tokens, state = some_tokens(dtype=torch.float32), torch.randn(B, 2, 5, 3)
    torch.testing.assert_close(
        _fused(*tokens, state, torch.float32), gated_delta_rule(*tokens, state, 8), rtol=0, atol=1e-5
    )


@pytest.mark.skipif(
    not (torch.cuda.is_available() and kernels_installed()), reason="needs a CUDA device and flash-linear-attention"
)
def test_the_kernel_does_what_the_chunked_form_does():
    tokens = [part.cuda() for part in some_tokens(K=32, V=64, length=200, dtype=torch.float32)]
    state = torch.randn(B, 2, 32, 64, device="cuda")
    tokens[:3] = [part.bfloat16().float() for part in tokens[:3]]
    assert kernels_fit(tokens[1].bfloat16(), tokens[2].bfloat16())
    o, after = _fused(*tokens, state, torch.bfloat16)
    expected, expected_after = gated_delta_rule(*tokens, state, 64)
    torch.testing.assert_close(o.float(), expected, rtol=0.05, atol=0.05 * expected.std().item())
    torch.testing.assert_close(after, expected_after, rtol=0.05, atol=0.05 * expected_after.std().item())
