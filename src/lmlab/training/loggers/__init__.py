"""Loggers of metrics: JSON lines in the run directory always; Weights & Biases and TensorBoard optionally."""

from lmlab.training.loggers.logger import JsonlLogger, RunLogger, tensorboard_logger
from lmlab.wandb.logger import wandb_logger

__all__ = ["JsonlLogger", "RunLogger", "tensorboard_logger", "wandb_logger"]
