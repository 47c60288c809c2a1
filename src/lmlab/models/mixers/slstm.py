"""The sLSTM: scalar memories with exponential input gates and memory mixing (Beck et al. 2024, section 2.2).

With gate pre-activations i~, f~, z~, o~ = W x_t + R h_{t-1} + b, z = tanh(z~), o = sigmoid(o~), f = sigmoid(f~) and
i = exp(i~) (equations 8 to 14):
    c_t = f_t * c_{t-1} + i_t * z_t,    n_t = f_t * n_{t-1} + i_t,    h_t = o_t * c_t / n_t.

i overflows, so c and n are kept divided by exp(m_t), m_t = max(log f_t + m_{t-1}, i~_t) (equations 15 to 17). Then
n_t >= 1, and as c / n does not depend on m, no gradient goes through it.

W and R have a block on their diagonal for each head; input and forget gate see x through a short convolution and SiLU,
and h is normalised by head (figure 10). Because the gates depend on h_{t-1} there is no parallel form: tokens are read
in a loop, with all of W x computed before it and one product for the four gates in each step.

With H heads, a token costs 16 D^2 / H operations; the state has 4 D numbers and the last inputs of the convolution.
Dimension legend: B sequences, T tokens, D width, H heads, P = D / H channels of a head, Q = 4 P.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, silu

from lmlab.errors import check_least
from lmlab.models.mixers.chunks import full_precision
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.mixers.short_convolution import ShortConvolution
from lmlab.models.mixers.xlstm import BlockDiagonal, HeadNorm, check_heads


class SLSTMState(NamedTuple):
    """Output h, cell c, normaliser n and stabiliser m, [B, H, P] each in float32 or wider, and last inputs."""

    output: Tensor
    cell: Tensor
    normaliser: Tensor
    stabiliser: Tensor
    convolution: Tensor


class SLSTM(Mixer):
    """The sLSTM with its convolution and norm; a channel mixer is to follow it.

    Forget gates start open, with biases from 3 to 6 over the channels of a head; other biases and R start at 0. It is
    ``small_init`` in the authors' code (github.com/NX-AI/xlstm, blocks/slstm/cell.py); their default there spreads the
    biases from 5 to -7, by a power that depends on the block's place in the stack.

    Args:
        heads: H.
        taps: tokens that the short convolution sees.

    Raises:
        UserError: the heads do not divide the width, or the convolution sees nothing.
    """

    def __init__(self, width: int, heads: int = 4, taps: int = 4) -> None:
        super().__init__()
        check_least(1, "model.mixer.", taps=taps)
        check_heads(heads, width, "model.width")
        self.heads, self.head_width = heads, width // heads
        self.convolution = ShortConvolution(width, taps)
        self.input_forget = BlockDiagonal(width, heads, 2)
        self.cell_output = BlockDiagonal(width, heads, 2)
        self.recurrent = nn.Parameter(torch.zeros(heads, self.head_width, 4 * self.head_width))
        bias_4D = torch.zeros(4 * width)
        bias_4D[width : 2 * width] = torch.linspace(3, 6, self.head_width).repeat(heads)
        self.bias = nn.Parameter(bias_4D)
        self.norm = HeadNorm(width)

    def forward(self, x_BTD: Tensor, state: SLSTMState | None) -> tuple[Tensor, SLSTMState]:
        B, T, _ = x_BTD.shape
        H, P = self.heads, self.head_width
        mixed_BTD, convolution = self.convolution(x_BTD, None if state is None else state.convolution)
        wide = torch.promote_types(x_BTD.dtype, torch.float32)
        parts = [*self.input_forget(silu(mixed_BTD)), *self.cell_output(x_BTD)]
        inputs = torch.cat(parts, -1).to(wide) + self.bias
        inputs_THBQ = inputs.view(B, T, 4, H, P).permute(1, 3, 0, 2, 4).reshape(T, H, B, 4 * P)
        if state is None:
            h_HBP = c_HBP = n_HBP = inputs.new_zeros(H, B, P)
            m_HBP = torch.full_like(h_HBP, -torch.inf)
        else:
            h_HBP, c_HBP, n_HBP, m_HBP = (part.transpose(0, 1) for part in state[:4])
        recurrent_HPQ, outputs = self.recurrent.to(wide), []
        with full_precision(x_BTD):
            for input_HBQ in inputs_THBQ.unbind():
                i_HBP, f_HBP, z_HBP, o_HBP = torch.baddbmm(input_HBQ, h_HBP, recurrent_HPQ).chunk(4, -1)
                kept_HBP = logsigmoid(f_HBP) + m_HBP
                m_HBP = torch.maximum(kept_HBP.detach(), i_HBP.detach())
                f_HBP, i_HBP = (kept_HBP - m_HBP).exp(), (i_HBP - m_HBP).exp()
                c_HBP = torch.addcmul(f_HBP * c_HBP, i_HBP, z_HBP.tanh())
                n_HBP = torch.addcmul(i_HBP, f_HBP, n_HBP)
                h_HBP = o_HBP.sigmoid() * c_HBP / n_HBP
                outputs.append(h_HBP)
            y_BTD = self.norm(torch.stack(outputs).permute(2, 0, 1, 3)).to(x_BTD.dtype)
        h_BHP, c_BHP, n_BHP, m_BHP = (part_HBP.transpose(0, 1) for part_HBP in (h_HBP, c_HBP, n_HBP, m_HBP))
        return y_BTD, SLSTMState(h_BHP, c_BHP, n_BHP, m_BHP, convolution)

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: h, c, n and m, and the last inputs of the convolution."""
        return 4 * self.heads * self.head_width + self.convolution.state_size()
