"""The gated perceptron with GELU (Shazeer 2020, equation 6), that of Hawk and Griffin (De et al. 2024, section 2.2)."""

from torch import Tensor
from torch.nn.functional import gelu

from lmlab.models.channels.channel import GatedPerceptron


class GeGLU(GatedPerceptron):
    """W_2 (gelu(W_1 x) * V x); 6 ratio D^2 operations a token, without biases.

    Args:
        ratio: inner width over outer width; 3 in Hawk and Griffin.
        multiple: the inner width is rounded to a multiple of it.

    Raises:
        UserError: ``ratio`` leaves no inner width.
    """

    def __init__(self, width: int, ratio: float = 3.0, multiple: int = 8) -> None:
        super().__init__(width, ratio, multiple)

    def activate(self, gate_BTI: Tensor) -> Tensor:
        return gelu(gate_BTI)
