"""What is compared with what: ``loss, logs = objective(model, batch)``."""

from lmlab.training.objectives.brier import Brier
from lmlab.training.objectives.cross_entropy import CrossEntropy

__all__ = ["Brier", "CrossEntropy"]
