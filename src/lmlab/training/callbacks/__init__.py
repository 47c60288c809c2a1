"""Callbacks of training: checks, checkpoints, samples, early stopping, progress, accounts, faults, signals."""

from lmlab.training.callbacks.bad_steps import BadSteps
from lmlab.training.callbacks.checkpoint import Checkpoint
from lmlab.training.callbacks.clock import Clock, PeakMemory
from lmlab.training.callbacks.contract import Contract
from lmlab.training.callbacks.ema import EMA
from lmlab.training.callbacks.out_of_memory import OutOfMemory
from lmlab.training.callbacks.progress import Heartbeats, Progress
from lmlab.training.callbacks.replicas import Replicas
from lmlab.training.callbacks.samples import Samples
from lmlab.training.callbacks.stopping import EarlyStopping, Stopping
from lmlab.training.callbacks.watchdog import Watchdog

__all__ = [
    "EMA",
    "BadSteps",
    "Checkpoint",
    "Clock",
    "Contract",
    "EarlyStopping",
    "Heartbeats",
    "OutOfMemory",
    "PeakMemory",
    "Progress",
    "Replicas",
    "Samples",
    "Stopping",
    "Watchdog",
]
