"""The two-layer perceptron of the first Transformers, with GELU (Hendrycks & Gimpel 2016) as in GPT-2."""

from torch import Tensor, nn

from lmlab.errors import UserError


class MLP(nn.Module):
    """W_2 gelu(W_1 x); 4 ratio D^2 operations a token.

    Args:
        ratio: inner width over outer width.
        bias: give both layers biases.
    """

    def __init__(self, width: int, ratio: float = 4.0, bias: bool = False) -> None:
        super().__init__()
        inner = round(ratio * width)
        if inner < 1:
            raise UserError(f"model.channel.ratio={ratio}: leaves no inner width")
        self.up = nn.Linear(width, inner, bias)
        self.activation = nn.GELU()
        self.down = nn.Linear(inner, width, bias)
        self.down.writes_residual = True  # type: ignore[assignment]

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x_BTD)))
