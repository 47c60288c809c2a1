"""Optimizers, one file each: ``optimizer = make(model)``, called with the network to train."""

from lmlab.training.optimizers.adam import adam, adamw
from lmlab.training.optimizers.muon import muon
from lmlab.training.optimizers.sgd import sgd

__all__ = ["adam", "adamw", "muon", "sgd"]
