"""The LSTM stack of the AWD-LSTM (Merity, Keskar & Socher 2018): LSTM layers, regularised in five ways while training.

- Weight drop (section 2): entries of the recurrent matrices U are dropped, the same ones at every token.
- Variational dropout (section 4.2) of the input, between layers, and of the output.
- Activation regularisation (section 4.6): alpha times the mean square of the last layer's output h, after dropout.
- Temporal activation regularisation (same section): beta times the mean square of h_t - h_{t-1}, before dropout.
- Layers that are wider inside than outside (section 4.5), so that embeddings stay small.

Each layer is that of ``lmlab.models.mixers.lstm``, with weight drop h_t = LSTM(x_t, h_{t-1}; W, M * U / (1 - p)) for a
mask M of zeros and ones. A mask is drawn at every forward pass. Dimension legend: B sequences, T tokens, D width.

With widths D_0 = D, D_1 = ... = D_{L-1} = E D and D_L = D, a token costs sum_l 8 D_l (D_{l-1} + D_l) floating-point
operations; the state is (h, c) of every layer, 2 sum_l D_l numbers.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from lmlab.errors import UserError, check_least
from lmlab.models.layers import VariationalDropout, check_count
from lmlab.models.mixers.lstm import INPUT_GAINS, RECURRENT_GAINS
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.mixers.recurrence import initialise

State = tuple[tuple[Tensor, Tensor], ...]


class AWDLSTM(Mixer):
    """A whole stack as one mixer, since dropout and penalties differ between its layers.

    Args:
        layers: L.
        expansion: E.
        weight_dropout: probability for an entry of a recurrent matrix.
        input_dropout: probability for a channel of the first layer's input.
        hidden_dropout: probability for a channel between layers.
        output_dropout: probability for a channel of the last layer's output.
        activation: alpha.
        temporal: beta.

    Raises:
        UserError: no layer, no inner width, a probability outside [0, 1), or a negative alpha or beta.
    """

    def __init__(
        self,
        width: int,
        layers: int = 3,
        expansion: float = 2.875,
        weight_dropout: float = 0.5,
        input_dropout: float = 0.4,
        hidden_dropout: float = 0.3,
        output_dropout: float = 0.4,
        activation: float = 2.0,
        temporal: float = 1.0,
    ) -> None:
        super().__init__()
        check_least(1, "model.mixer.", layers=layers)
        check_count("model.mixer.layers", layers)
        inner = round(expansion * width)
        if inner < 1:
            raise UserError(f"model.mixer.expansion={expansion}: leaves no inner width (nearest: {1 / width})")
        for option, share in (
            ("weight_dropout", weight_dropout),
            ("input_dropout", input_dropout),
            ("hidden_dropout", hidden_dropout),
            ("output_dropout", output_dropout),
        ):
            if not 0 <= share < 1:
                raise UserError(f"model.mixer.{option}={share}: expected a number in [0, 1)")
        check_least(0, "model.mixer.", activation=activation, temporal=temporal)
        widths = [width, *[inner] * (layers - 1), width]
        self.layers = nn.ModuleList(nn.LSTM(*sizes, batch_first=True) for sizes in pairwise(widths))
        for layer in self.layers:
            initialise(layer, INPUT_GAINS, RECURRENT_GAINS)  # type: ignore[arg-type]
        self.weight_dropout = weight_dropout
        between = [VariationalDropout(hidden_dropout) for _ in range(layers - 1)]
        self.dropouts = nn.ModuleList([VariationalDropout(input_dropout), *between])
        self.output_dropout = VariationalDropout(output_dropout)
        self.activation, self.temporal = activation, temporal

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: h and c of every layer."""
        return sum(2 * layer.hidden_size for layer in self.layers)  # type: ignore[misc, operator]

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State, dict[str, Tensor]]:
        before = [None] * len(self.layers) if state is None else state
        after = []
        for layer, drop, carried in zip(self.layers, self.dropouts, before, strict=True):
            x_BTD, left = self._layer(layer, drop(x_BTD), carried)  # type: ignore[arg-type]
            after.append(left)
        y_BTD = self.output_dropout(x_BTD)
        return y_BTD, tuple(after), self._penalties(x_BTD, y_BTD) if self.training else {}

    def _layer(
        self, layer: nn.LSTM, x_BTD: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        carried = None if state is None else tuple(part_B1D.transpose(0, 1).contiguous() for part_B1D in state)
        if self.training and self.weight_dropout:
            if carried is None:
                carried = (x_BTD.new_zeros(1, x_BTD.shape[0], layer.hidden_size),) * 2
            # The layer's own kernel, given other weights: gradient flows through the mask to the whole matrix.
            w_ih, w_hh, b_ih, b_hh = layer.all_weights[0]
            weights = [w_ih, dropout(w_hh, self.weight_dropout), b_ih, b_hh]
            y_BTD, h_1BD, c_1BD = torch._VF.lstm(x_BTD, carried, weights, True, 1, 0.0, True, False, True)  # type: ignore[attr-defined]
        else:
            y_BTD, (h_1BD, c_1BD) = layer(x_BTD, carried)
        return y_BTD, (h_1BD.transpose(0, 1), c_1BD.transpose(0, 1))

    def _penalties(self, raw_BTD: Tensor, dropped_BTD: Tensor) -> dict[str, Tensor]:
        wide = torch.promote_types(raw_BTD.dtype, torch.float32)
        steps_BTD = raw_BTD.to(wide).diff(dim=1)
        losses = {
            "activation_regularisation": self.activation * dropped_BTD.to(wide).square().mean(),
            "temporal_regularisation": self.temporal * steps_BTD.square().sum() / max(1, steps_BTD.numel()),
        }
        strengths = (self.activation, self.temporal)
        return {name: loss for (name, loss), used in zip(losses.items(), strengths, strict=True) if used}
