"""Optimizers: ``optimizer = make(model)``, called with the network to train.

An optimizer that evaluates at other weights than it trains at has ``eval()``, which loads them, and ``train()``, which
restores the weights of training. An optimizer that depends on validations has ``observe(validation_loss)``.
"""

from lmlab.training.optimizers.muon import muon
from lmlab.training.optimizers.nt_asgd import nt_asgd
from lmlab.training.optimizers.torch_optimizers import adam, adamw, sgd

__all__ = ["adam", "adamw", "muon", "nt_asgd", "sgd"]
