import sys
from types import ModuleType

import pytest
import torch
from torch.nn.functional import silu, softplus
from torch.utils.flop_counter import FlopCounterMode

from lmlab.errors import UserError
from lmlab.models.mixers.chunks import kernels_fit, kernels_installed
from lmlab.models.mixers.mamba2 import Mamba2, _fused, scan

B, T, D = 2, 23, 8

OPTIONS = [
    {},
    {"heads": 4, "state_width": 5, "chunk_length": 4},
    {"heads": 4, "groups": 2, "state_width": 3, "chunk_length": 8, "taps": 2},
    {"expansion": 3, "heads": 8, "groups": 4, "state_width": 1, "chunk_length": 1, "taps": 1},
]


def a_mixer(**options) -> Mamba2:
    torch.manual_seed(0)
    mixer = Mamba2(D, **options).double()
    for parameter in (mixer.skip, mixer.gain, mixer.convolution.bias):
        torch.nn.init.normal_(parameter)
    return mixer


def token_by_token(mixer: Mamba2, x_BTD: torch.Tensor) -> torch.Tensor:
    """Dao & Gu 2024: the recurrence of equation 2 with A_t = exp(-A dt_t), one sequence, token and head at a time."""
    H, P, G, N, taps = mixer.heads, mixer.head_width, mixer.groups, mixer.state_width, mixer.convolution.taps
    out = torch.zeros_like(x_BTD)
    for b, sequence in enumerate(x_BTD):
        seen, states = torch.zeros(taps - 1, H * P + 2 * G * N).double(), torch.zeros(H, P, N).double()
        for t, token in enumerate(sequence):
            z, mixed, p = (mixer.projection_in.weight @ token).split([H * P, H * P + 2 * G * N, H])
            seen = torch.cat([seen, mixed[None]])[-taps:]
            mixed = silu((seen * mixer.convolution.weight[:, 0].T).sum(0) + mixer.convolution.bias)
            x, B_, C = mixed.split([H * P, G * N, G * N])
            seen = seen[1:]
            ys = []
            for h in range(H):
                dt, group = softplus(p[h] + mixer.decay.step_bias[h]), h // (H // G)
                own_x, own_B, own_C = x[h * P :][:P], B_[group * N :][:N], C[group * N :][:N]
                states[h] = torch.exp(-mixer.decay.log_rate[h].exp() * dt) * states[h] + dt * own_x.outer(own_B)
                ys.append(states[h] @ own_C + mixer.skip[h] * own_x)
            y = torch.cat(ys) * silu(z)
            y = torch.cat([part / (part.square().mean() + 1e-5).sqrt() for part in y.split(H * P // G)])
            out[b, t] = mixer.projection_out.weight @ (mixer.gain * y)
    return out


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_it_is_the_recurrence_token_by_token(options):
    mixer, x_BTD = a_mixer(**options), torch.randn(B, T, D, dtype=torch.float64)
    expected = token_by_token(mixer, x_BTD)
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=0, atol=1e-11)
    pieces, state = [], None
    for start, end in ((0, 1), (1, 10), (10, T)):
        piece, state = mixer(x_BTD[:, start:end], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), expected, rtol=0, atol=1e-11)


@torch.no_grad()
def test_it_is_the_mixer_of_transformers():
    modeling = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    mixer = a_mixer(heads=4, groups=2, state_width=6, chunk_length=5).float()
    config = modeling.Mamba2Config(
        hidden_size=D, num_heads=4, head_dim=4, n_groups=2, state_size=6, expand=2, chunk_size=8, num_hidden_layers=1
    )
    other = modeling.Mamba2Mixer(config, 0).eval()
    other.in_proj.weight.copy_(mixer.projection_in.weight)
    other.in_proj.bias = None
    other.conv1d.weight.copy_(mixer.convolution.weight)
    other.conv1d.bias.copy_(mixer.convolution.bias)
    other.dt_bias.copy_(mixer.decay.step_bias)
    other.A_log.copy_(mixer.decay.log_rate)
    other.D.copy_(mixer.skip)
    other.norm.weight.copy_(mixer.gain)
    other.out_proj.weight.copy_(mixer.projection_out.weight)
    other.out_proj.bias = None
    x_BTD = torch.randn(B, T, D)
    torch.testing.assert_close(mixer(x_BTD, None)[0], other(x_BTD), rtol=0, atol=1e-5)


def test_the_length_of_chunks_changes_neither_results_nor_gradients():
    mixer, x_BTD = a_mixer(heads=4, state_width=5), torch.randn(B, T, D, dtype=torch.float64)
    found = []
    for chunk_length in (1, 2, 7, 8, T, 64):
        mixer.chunk_length = chunk_length
        y_BTD, (_, state) = mixer(x_BTD, None)
        found.append([y_BTD, state, *torch.autograd.grad(y_BTD.square().sum(), list(mixer.parameters()))])
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=1e-9, atol=1e-9)


def test_strong_decays_stay_finite_and_exact():
    # A token that forgets everything makes a cumulative log-decay of -1e4; those after it still have to be exact.
    torch.manual_seed(0)
    log_decay = -torch.rand(1, 40, 2) / 100
    log_decay[:, 3] = -1e4
    x, b, c = torch.randn(1, 40, 2, 4), torch.randn(1, 40, 1, 3), torch.randn(1, 40, 1, 3)
    tokens = [part.requires_grad_() for part in (x, log_decay, b, c)]
    exact = scan(*(part.double() for part in tokens), torch.zeros(1, 2, 3, 4).double(), 1)
    chunked = scan(*tokens, torch.zeros(1, 2, 3, 4), 40)
    torch.testing.assert_close(chunked[0].double(), exact[0], rtol=0, atol=2e-5)
    for gradient in torch.autograd.grad(chunked[0].sum(), tokens):
        assert gradient.isfinite().all()


@torch.no_grad()
def test_under_autocast_the_state_keeps_its_precision():
    mixer, x_BTD = a_mixer(heads=4).float(), torch.randn(B, T, D)
    with torch.autocast("cpu", torch.bfloat16):
        y_BTD, (_, state) = mixer(x_BTD, None)
    exact, (_, exact_state) = mixer(x_BTD, None)
    assert state.dtype == torch.float32
    torch.testing.assert_close(state, exact_state, rtol=0, atol=0.02)
    torch.testing.assert_close(y_BTD.float(), exact, rtol=0, atol=0.1)


def test_gradients_are_those_of_finite_differences():
    mixer = Mamba2(2, heads=2, state_width=2, chunk_length=2, taps=2).double()
    state = (torch.randn(1, 1, 8).double().requires_grad_(), torch.randn(1, 2, 2, 2).double().requires_grad_())
    x_BTD = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)

    def run(x, last, before, *parameters):
        names = [name for name, _ in mixer.named_parameters()]
        y, after = torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (x, (last, before)))
        return y, *after

    assert torch.autograd.gradcheck(run, (x_BTD, *state, *mixer.parameters()))


def test_first_steps_and_rates_are_those_of_the_paper():
    decay = Mamba2(512, heads=1024).decay
    steps, rates = softplus(decay.step_bias), decay.log_rate.exp()
    assert 1e-3 <= steps.min() < 1.2e-3 and 0.09 < steps.max() <= 0.1
    assert steps.log().mean().exp().item() == pytest.approx(1e-2, rel=0.15)
    assert 1 <= rates.min() < 1.2 and 15.8 < rates.max() <= 16
    assert rates.mean().item() == pytest.approx(8.5, rel=0.1)


@pytest.mark.parametrize(("width", "heads"), [(16, 1), (128, 4), (768, 24), (100, 4), (101, 2)])
def test_heads_are_about_64_wide_unless_chosen(width, heads):
    assert Mamba2(width).heads == heads


@pytest.mark.parametrize("context", [1, 7, 32, 33, 128])
@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_operations_are_those_that_the_framework_counts(context, options):
    mixer = Mamba2(16, **options)
    with FlopCounterMode(display=False) as counter:
        mixer(torch.zeros(1, context, 16), None)
    matrices = sum(p.numel() for p in mixer.parameters() if p.ndim >= 2)
    assert 2 * matrices + mixer.extra_flops(context) == pytest.approx(counter.get_total_flops() / context, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, r"model\.mixer\.heads=3: must divide .* = 16 \(nearest that does: (2|4)\)"),
        ({"heads": 0}, r"model\.mixer\.heads=0: .*nearest that does: 1"),
        ({"heads": 4, "groups": 3}, r"model\.mixer\.groups=3: must divide the number of heads, 4 .*: (2|4)\)"),
        ({"expansion": 0}, r"model\.mixer\.expansion=0: expected at least 1"),
        ({"state_width": 0}, r"model\.mixer\.state_width=0: expected at least 1"),
        ({"chunk_length": 0}, r"model\.mixer\.chunk_length=0: expected at least 1"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Mamba2(D, **options)


def test_logits_and_gradients_start_at_a_scale_that_depth_hardly_changes(make_model):
    logits, gradients = [], []
    for depth in (2, 16):
        model = make_model("model=mamba2", "model.width=64", f"model.depth={depth}", vocabulary=100)
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
    def chunk_simple_gla(q, k, v, g, scale, initial_state, output_final_state):
        """What it says: [B, T, H, K], [B, T, H, K], [B, T, H, V], [B, T, H]; a state [B, H, K, V]."""
        outputs, state = [], initial_state
        for t in range(q.shape[1]):
            state = state * g[:, t, :, None, None].exp() + k[:, t, :, :, None] * v[:, t, :, None]
            outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
        return torch.stack(outputs, 1), state if output_final_state else None

    package = ModuleType("fla.ops.simple_gla")
    package.chunk_simple_gla = chunk_simple_gla
    for name in ("fla", "fla.ops", "fla.ops.simple_gla"):
        monkeypatch.setitem(sys.modules, name, package)
    x, b, c = torch.randn(2, 9, 4, 5), torch.randn(2, 9, 2, 3), torch.randn(2, 9, 2, 3)
    log_decay, state = -torch.rand(2, 9, 4), torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(_fused(x, log_decay, b, c, state), scan(x, log_decay, b, c, state, 4), rtol=0, atol=1e-5)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and kernels_installed()), reason="needs a CUDA device and flash-linear-attention"
)
def test_the_kernel_does_what_the_scan_does():
    torch.manual_seed(0)
    x, b, c = (torch.randn(2, 200, count, 32, device="cuda").bfloat16() for count in (4, 2, 2))
    log_decay = -torch.rand(2, 200, 4, device="cuda")
    state = torch.randn(2, 4, 32, 32, device="cuda")
    assert kernels_fit(b, x)
    y, after = _fused(x, log_decay, b, c, state)
    expected, expected_after = scan(x.float(), log_decay, b.float(), c.float(), state, 64)
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05 * expected.std().item())
    torch.testing.assert_close(after, expected_after, rtol=0.05, atol=0.05 * expected_after.std().item())
