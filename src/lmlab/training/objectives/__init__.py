"""Objectives, one file each: subclasses of :class:`Objective`, whose ``terms(model, batch)`` give the loss."""

from lmlab.training.objectives.brier import Brier
from lmlab.training.objectives.cross_entropy import CrossEntropy
from lmlab.training.objectives.objective import Objective, StepContext, Terms

__all__ = ["Brier", "CrossEntropy", "Objective", "StepContext", "Terms"]
