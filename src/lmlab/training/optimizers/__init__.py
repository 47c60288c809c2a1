"""Optimizers, one file each: ``optimizer = make(model)``, called with the network to train.

One that evaluates at other weights than it trains at has ``eval()``, which puts those in place, and ``train()``, which
puts the weights of training back. One that goes by validations has ``observe(validation_loss)``.
"""

from lmlab.training.optimizers.adam import adam, adamw
from lmlab.training.optimizers.muon import muon
from lmlab.training.optimizers.nt_asgd import nt_asgd
from lmlab.training.optimizers.sgd import sgd

__all__ = ["adam", "adamw", "muon", "nt_asgd", "sgd"]
