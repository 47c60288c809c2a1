"""Heads, one file each: from hidden vectors to distributions over the vocabulary."""

from lmlab.models.heads.head import Head
from lmlab.models.heads.mixture_of_softmaxes import MixtureOfSoftmaxes
from lmlab.models.heads.softmax import Softmax

__all__ = ["Head", "MixtureOfSoftmaxes", "Softmax"]
