"""How much memory a run took at most, over all attempts."""

import resource
from typing import Any

import pytorch_lightning as pl
import torch


class PeakMemory(pl.Callback):
    """Keeps the peak over all attempts: of a GPU, what torch's allocator handed out at most at a time; of a CPU, the
    largest resident set of the process, libraries and all."""

    def __init__(self) -> None:
        self._before = 0
        self._device = torch.device("cpu")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = pl_module.device

    @property
    def bytes(self) -> int:
        """The peak of this rank so far."""
        if self._device.type == "cuda":
            return max(self._before, torch.cuda.max_memory_allocated(self._device))
        return max(self._before, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    @property
    def what(self) -> str:
        """What :attr:`bytes` is the peak of."""
        return "allocated by torch" if self._device.type == "cuda" else "resident set of the process"

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self.bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["bytes"]
