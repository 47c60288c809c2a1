"""Channel mixers, one file each: ``y_BTD = channel(x_BTD)``, the same function at every position."""

from lmlab.models.channels.mlp import MLP
from lmlab.models.channels.swiglu import SwiGLU

__all__ = ["MLP", "SwiGLU"]
