"""The recurrent block of Hawk and Griffin, with a real-gated linear recurrent unit (De et al. 2024, sections 2.3, 2.4).

Dimension legend: B sequences, T tokens, D width, I inner width, K taps, H heads, C = I / H channels of a head.

With u the causal convolution of W_u x over K tokens, each channel by itself, and block-diagonal matrices W_a and W_i of
H blocks:
    r_t = sigmoid(W_a u_t + b_a)                      recurrence gate (equation 1)
    i_t = sigmoid(W_i u_t + b_i)                      input gate (equation 2)
    a_t = sigmoid(Lambda)^(c r_t),  c = 8             decay (equation 3)
    h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t u_t       (equation 4)
    y_t = W_y (gelu(W_g x_t) * h_t).
As a is close to one, where few floating-point numbers lie, it enters by its logarithm (appendix A):
log a_t = -c r_t softplus(-Lambda), and 1 - a_t^2 = -expm1(2 log a_t).

A token costs 6 D I + 2 K I + 4 I C floating-point operations; the state is h and the last K - 1 inputs of the
convolution, K I numbers, however long the context.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, softplus

from lmlab.errors import UserError, check_least
from lmlab.models.layers import Linear
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.mixers.short_convolution import ShortConvolution
from lmlab.models.scan import scan

_C = 8.0
_SLOWEST, _FASTEST = 0.999, 0.9  # range of sigmoid(Lambda)^c at the start (section 2.4)


class RGLRU(Mixer):
    """A gated linear recurrence after a short convolution, times a GELU branch.

    Args:
        expansion: I / D; the paper has about 4/3.
        heads: H, diagonal blocks of the gates' matrices.
        taps: K.
        multiple: I is rounded to a multiple of it and of ``heads``.

    Raises:
        UserError: the expansion leaves no inner width, heads or taps.
    """

    def __init__(self, width: int, expansion: float = 4 / 3, heads: int = 4, taps: int = 4, multiple: int = 8) -> None:
        super().__init__()
        check_least(1, "model.mixer.", heads=heads, taps=taps, multiple=multiple)
        if expansion <= 0:
            raise UserError(f"model.mixer.expansion={expansion}: expected a number above 0")
        multiple = math.lcm(multiple, heads)
        inner = round(expansion * width / multiple) * multiple
        if inner < 1:
            raise UserError(
                f"model.mixer.heads={heads}: an inner width of {expansion * width:.4g} has no multiple of {multiple} "
                "near it (choose fewer heads, or a smaller model.mixer.multiple)"
            )
        self.inner, self.head_shape = inner, (heads, inner // heads)
        self.projection_in = Linear(width, 2 * inner, bias=False, row_blocks=[inner, inner])
        self.convolution = ShortConvolution(inner, taps)
        # As torch's own convolutions start. With no constant in it the block's output is quadratic in its input, and
        # where nothing normalises that, the signal is lost within a few blocks.
        nn.init.uniform_(self.convolution.bias, -(taps**-0.5), taps**-0.5)  # type: ignore[arg-type]
        # Gates of both kinds, head by head, from N(0, 1 / C) (section 2.4: LeCun initialisation).
        self.gates = nn.Parameter(torch.randn(heads, inner // heads, 2 * inner // heads) * (inner // heads) ** -0.5)
        self.gates_bias = nn.Parameter(torch.zeros(2 * inner))
        start = torch.empty(inner, dtype=torch.float64).uniform_(_FASTEST, _SLOWEST)
        self.decay = nn.Parameter(-(-start.log() / _C).expm1().log().to(torch.get_default_dtype()))  # Lambda
        self.projection_out = Linear(inner, width, bias=False, writes_residual=True)

    def forward(self, x_BTD: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        seen_BKI, h_BI = (None, None) if state is None else state
        gate_BTI, u_BTI = self.projection_in(x_BTD).chunk(2, -1)
        u_BTI, seen_BKI = self.convolution(u_BTI, seen_BKI)
        a_BTI, b_BTI = self._recurrence(u_BTI)
        h_BTI = scan(a_BTI, b_BTI, torch.zeros_like(b_BTI[:, 0]) if h_BI is None else h_BI)
        y_BTD = self.projection_out(gelu(gate_BTI) * h_BTI.to(gate_BTI.dtype))
        return y_BTD, (seen_BKI, h_BTI[:, -1])

    def _recurrence(self, u_BTI: Tensor) -> tuple[Tensor, Tensor]:
        """Return a_t and sqrt(1 - a_t^2) i_t u_t, in float32 or wider."""
        wide = torch.promote_types(u_BTI.dtype, torch.float32)
        gates_BTHC = torch.einsum("bthi,hio->btho", u_BTI.unflatten(2, self.head_shape), self.gates)
        gates_BTHC = (gates_BTHC.to(wide) + self.gates_bias.view(self.head_shape[0], -1)).sigmoid()
        r_BTI, i_BTI = (gate.flatten(2) for gate in gates_BTHC.chunk(2, -1))
        log_a_BTI = -_C * r_BTI * softplus(-self.decay.to(wide))
        # The root's slope is infinite at zero, and infinity times a gate of zero would be NaN.
        scale_BTI = (-(2 * log_a_BTI).expm1()).clamp_min(1e-12).sqrt()
        return log_a_BTI.exp(), scale_BTI * i_BTI * u_BTI

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: h, and the convolution's inputs."""
        return self.inner + self.convolution.state_size()
