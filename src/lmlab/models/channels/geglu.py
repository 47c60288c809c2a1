"""The gated perceptron with GELU (Shazeer 2020, equation 6), that of Hawk and Griffin (De et al. 2024, section 2.2)."""

from torch import Tensor, nn
from torch.nn.functional import gelu

from lmlab.errors import UserError


class GeGLU(nn.Module):
    """W_2 (gelu(W_1 x) * V x); 6 ratio D^2 operations a token, without biases.

    Args:
        ratio: inner width over outer width; 3 in Hawk and Griffin.
        multiple: the inner width is rounded to a multiple of it.

    Raises:
        UserError: there would be no inner width.
    """

    def __init__(self, width: int, ratio: float = 3.0, multiple: int = 8) -> None:
        super().__init__()
        inner = round(ratio * width / multiple) * multiple
        if inner < 1:
            raise UserError(f"model.channel.ratio={ratio}: leaves no inner width")
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.down.writes_residual = True  # type: ignore[assignment]

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTI, value_BTI = self.up(x_BTD).chunk(2, -1)
        return self.down(gelu(gate_BTI) * value_BTI)
