"""The gated perceptron of current Transformers (Shazeer 2020, equation 6)."""

from torch import Tensor
from torch.nn.functional import silu

from lmlab.models.channels.channel import GatedPerceptron


class SwiGLU(GatedPerceptron):
    """W_2 (silu(W_1 x) * V x); 6 ratio D^2 operations a token, without biases.

    Args:
        ratio: inner width over outer width; 8/3 for as many weights as a two-layer perceptron of ratio 4.
        multiple: the inner width is rounded to a multiple of it.

    Raises:
        UserError: ``ratio`` leaves no inner width.
    """

    def __init__(self, width: int, ratio: float = 8 / 3, multiple: int = 8) -> None:
        super().__init__(width, ratio, multiple)

    def activate(self, gate_BTI: Tensor) -> Tensor:
        return silu(gate_BTI)
