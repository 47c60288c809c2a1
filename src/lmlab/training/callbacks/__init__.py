"""What happens beside training: checkpoints, samples, early stopping, progress, timing."""

from lmlab.training.callbacks.checkpoint import Checkpoint
from lmlab.training.callbacks.clock import Clock
from lmlab.training.callbacks.early_stopping import EarlyStopping
from lmlab.training.callbacks.progress import Progress
from lmlab.training.callbacks.samples import Samples

__all__ = ["Checkpoint", "Clock", "EarlyStopping", "Progress", "Samples"]
