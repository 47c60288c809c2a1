"""The two-layer perceptron of the first Transformers, with GELU (Hendrycks & Gimpel 2016) as in GPT-2, or with ReLU."""

from typing import Literal

from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models.channels.channel import Channel
from lmlab.models.layers import Linear, Split


class MLP(Channel):
    """W_2 f(W_1 x); 4 ratio D^2 operations a token.

    Args:
        ratio: inner width over outer width.
        bias: give both layers biases.
        activation: f, ``gelu`` or ``relu``; with ReLU and biases it is equation 2 of Vaswani et al. 2017.
    """

    def __init__(
        self, width: int, ratio: float = 4.0, bias: bool = False, activation: Literal["gelu", "relu"] = "gelu"
    ) -> None:
        super().__init__()
        inner = round(ratio * width)
        if inner < 1:
            raise UserError(f"model.channel.ratio={ratio}: leaves no inner width")
        self.up = nn.Linear(width, inner, bias)
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU()
        self.down = Linear(inner, width, bias, writes_residual=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x_BTD)))

    def split(self) -> Split:
        """Return the split of the inner channels among processes."""
        inner = self.down.in_features
        return Split(inner, "the inner width of model.channel", {"up": [inner]}, ["down"])
