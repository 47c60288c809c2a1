"""The Lightning trainer of a run. Lightning is imported when one is built: the signature is read sooner."""

import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch

from lmlab.errors import UserError, nearest

Accelerator = Literal["auto", "cpu", "cuda"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"]


def device_kind(accelerator: str, option: str = "accelerator") -> Literal["cpu", "cuda"]:
    """What ``accelerator``, given as ``option``, means on this machine. Raises ``UserError`` without such a device."""
    if accelerator not in get_args(Accelerator):
        raise UserError(f"{option}={accelerator}: unknown{nearest(accelerator, get_args(Accelerator))}")
    available = torch.cuda.is_available()
    if accelerator == "cuda" and not available:
        raise UserError(f"{option}=cuda: torch sees no CUDA device here (choose cpu or auto)")
    return "cuda" if available and accelerator != "cpu" else "cpu"


def check_devices(trainer: Mapping[str, Any], batch_size: int) -> None:
    """Refuse what this machine or the batch cannot give to a ``trainer`` section. Raises ``UserError``."""
    devices, accumulate = trainer["devices"], trainer["accumulate"]
    for option, value in (("devices", devices), ("accumulate", accumulate), ("threads", trainer["threads"])):
        if value is not None and value < 1:
            raise UserError(f"trainer.{option}={value}: expected at least 1")
    clip = trainer["gradient_clip"]
    if clip is not None and not clip > 0:
        raise UserError(f"trainer.gradient_clip={clip}: expected a number above 0, or null for no limit")
    kind = device_kind(trainer["accelerator"], "trainer.accelerator")
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise UserError(f"trainer.devices={devices}: this machine has {torch.cuda.device_count()} GPUs")
    if kind == "cpu" and trainer["precision"] == "16-mixed":
        raise UserError("trainer.precision=16-mixed: needs a GPU (bf16-mixed also runs on a CPU)")
    if batch_size % (devices * accumulate):
        raise UserError(
            f"batch.size={batch_size}: not divisible by trainer.devices={devices} times trainer.accumulate={accumulate}"
        )


def set_threads(threads: int | None, processes: int) -> None:
    """Give each process its share of the cores, or ``threads`` of them, for work inside one operation."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // processes))


def build_trainer(
    accelerator: Accelerator = "auto",
    devices: int = 1,
    strategy: Literal["auto", "ddp"] = "auto",
    precision: Precision = "32-true",
    accumulate: int = 1,
    gradient_clip: float | None = 1.0,
    compile: bool = False,
    threads: int | None = None,
    *,
    supplied: dict[str, Any] | None = None,
) -> Any:
    """Return a ``pytorch_lightning.Trainer`` for one run.

    Args:
        devices: processes, one per device, started beforehand by the run's execution.
        accumulate: micro-batches per optimizer step on each device.
        gradient_clip: largest norm of the whole gradient; ``None``: no limit.
        compile: the worker compiles the network (never the LightningModule).
        threads: CPU threads per process; ``None``: the cores divided by the processes.
        supplied: further arguments of the Trainer, given by the worker.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import DDPStrategy

    kind = device_kind(accelerator)
    chosen: Any = "auto"
    if devices > 1 or strategy == "ddp":
        chosen = DDPStrategy(process_group_backend="nccl" if kind == "cuda" else "gloo")
    return pl.Trainer(
        accelerator=kind,
        devices=devices,
        strategy=chosen,
        precision=precision,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=gradient_clip,
        use_distributed_sampler=False,  # each rank computes its own share of every batch
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **(supplied or {}),
    )
