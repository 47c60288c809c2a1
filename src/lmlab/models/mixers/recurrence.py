"""What the recurrent layers of torch have in common as mixers: state with the batch first, and their first weights.

Stacked without residual connections, a layer must pass on what it reads at the scale at which it read it, and gradients
the same way back. So every gate has an orthogonal matrix for its input and one for its state (Saxe et al. 2014,
section 3), biases are zero, and the gains of these matrices are chosen so that the layer as a whole, seen as a linear
filter around zero (where each gate is 1/2), has a gain a little above 1: the excess is what tanh takes away. With
torch's own uniform weights the gradient that reaches the embedding (width 64, 16 tokens) falls between depth 2 and 16
by factors of 300 (tanh), 10^4 (GRU) and 10^8 (LSTM), and what comes out depends on biases more than on what was read.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lmlab.models.mixers.mixer import Mixer
from lmlab.models.state import map_tensors


class Recurrence(Mixer):
    """One layer of torch's own, which runs as one fused kernel over the whole sequence.

    Args:
        layer: an ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM`` of one layer with ``batch_first``.
        input_gains: of the input matrix of each gate, in torch's order.
        recurrent_gains: of the recurrent ones.
    """

    def __init__(self, layer: nn.RNNBase, input_gains: Sequence[float], recurrent_gains: Sequence[float]) -> None:
        super().__init__()
        self.layer = layer
        initialise(layer, input_gains, recurrent_gains)

    def state_size(self, context: int) -> int:
        """Numbers in the state of a sequence: h, and of an LSTM also c."""
        return (2 if self.layer.mode == "LSTM" else 1) * self.layer.hidden_size

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        carried = map_tensors(lambda h_B1D: h_B1D.transpose(0, 1).contiguous(), state)
        y_BTD, state = self.layer(x_BTD, carried)
        return y_BTD, map_tensors(lambda h_1BD: h_1BD.transpose(0, 1), state)


@torch.no_grad()
def initialise(layer: nn.RNNBase, input_gains: Sequence[float], recurrent_gains: Sequence[float]) -> None:
    """Draw the weights of a layer anew: orthogonal matrices with a gain for each gate, no biases.

    A matrix to more units than from is enlarged by the root of their ratio, which keeps the root mean square of what
    passes forwards and the norm of what passes back.
    """
    growth = math.sqrt(max(1.0, layer.hidden_size / layer.input_size))
    for name, parameter in layer.named_parameters():
        if name.startswith("bias"):
            parameter.zero_()
            continue
        gains = [growth * gain for gain in input_gains] if name.startswith("weight_ih") else recurrent_gains
        for matrix, gain in zip(parameter.chunk(len(gains)), gains, strict=True):
            nn.init.orthogonal_(matrix, gain)
