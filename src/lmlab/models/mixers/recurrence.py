"""Base class of mixers that are recurrent layers of torch: state with the batch first, and initialisation.

Stacked without residual connections, a layer must preserve the scale of its input, and of gradients in the backward
pass. So every gate has an orthogonal matrix for its input and one for its state (Saxe et al. 2014,
section 3), biases are zero, and the gains of these matrices are chosen so that the layer as a whole, seen as a linear
filter around zero (where each gate is 1/2), has a gain a little above 1: the excess compensates tanh. With
torch's own uniform weights the gradient that reaches the embedding (width 64, 16 tokens) falls between depth 2 and 16
by factors of 300 (tanh), 10^4 (GRU) and 10^8 (LSTM), and the output depends on biases more than on the input.
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
        input_gains: gains of the input matrix of each gate, in torch's order.
        recurrent_gains: gains of the recurrent matrices.
    """

    def __init__(self, layer: nn.RNNBase, input_gains: Sequence[float], recurrent_gains: Sequence[float]) -> None:
        super().__init__()
        self.layer = layer
        initialise(layer, input_gains, recurrent_gains)

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: h, and of an LSTM also c."""
        return (2 if self.layer.mode == "LSTM" else 1) * self.layer.hidden_size

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        carried = map_tensors(lambda h_B1D: h_B1D.transpose(0, 1).contiguous(), state)
        y_BTD, state = self.layer(x_BTD, carried)
        return y_BTD, map_tensors(lambda h_1BD: h_1BD.transpose(0, 1), state)


@torch.no_grad()
def initialise(layer: nn.RNNBase, input_gains: Sequence[float], recurrent_gains: Sequence[float]) -> None:
    """Initialise the weights of a layer: orthogonal matrices with a gain for each gate, zero biases.

    A matrix with more outputs than inputs is scaled by the root of their ratio. That preserves the root mean square of
    activations in the forward pass and the norm of gradients in the backward pass.
    """
    growth = math.sqrt(max(1.0, layer.hidden_size / layer.input_size))
    for name, parameter in layer.named_parameters():
        if name.startswith("bias"):
            parameter.zero_()
            continue
        gains = [growth * gain for gain in input_gains] if name.startswith("weight_ih") else recurrent_gains
        for matrix, gain in zip(parameter.chunk(len(gains)), gains, strict=True):
            nn.init.orthogonal_(matrix, gain)
