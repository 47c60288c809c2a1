"""Sequence mixers, one file each: ``y_BTD, state = mixer(x_BTD, state)``.

A mixer whose work for a token grows with the context says so with ``sequence_flops(context)``: the floating-point
operations for one token beyond two for each of its matrix weights.
"""

from lmlab.models.mixers.attention import Attention
from lmlab.models.mixers.lstm import LSTM

__all__ = ["LSTM", "Attention"]
