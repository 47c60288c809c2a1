"""The gated perceptron of current Transformers (Shazeer 2020, equation 6)."""

from torch import Tensor, nn
from torch.nn.functional import silu

from lmlab.errors import UserError


class SwiGLU(nn.Module):
    """W_2 (silu(W_1 x) * V x); 6 ratio D^2 operations a token, without biases.

    Args:
        ratio: inner width over outer width, 8/3 for as many weights as a two-layer perceptron of ratio 4.
        multiple: the inner width is rounded to a multiple of it.
    """

    def __init__(self, width: int, ratio: float = 8 / 3, multiple: int = 8) -> None:
        super().__init__()
        inner = round(ratio * width / multiple) * multiple
        if inner < 1:
            raise UserError(f"model.channel.ratio={ratio}: leaves no inner width")
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.down.writes_residual = True  # type: ignore[assignment]

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTI, value_BTI = self.up(x_BTD).chunk(2, -1)
        return self.down(silu(gate_BTI) * value_BTI)
