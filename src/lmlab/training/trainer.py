"""The Lightning trainer of a run. Lightning and torch are imported when it is built: the signature is read earlier."""

from typing import Any, Literal, get_args

from lmlab.config.experiment import TrainerOptions
from lmlab.errors import UserError, check_least, nearest
from lmlab.training.threads import check_threads

Accelerator = Literal["auto", "cpu", "cuda"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"]


def device_kind(accelerator: str, option: str = "accelerator") -> Literal["cpu", "cuda"]:
    """Return the kind of device of ``accelerator`` on this machine. Raises ``UserError`` if there is none."""
    if accelerator not in get_args(Accelerator):
        raise UserError(f"{option}={accelerator}: unknown{nearest(accelerator, get_args(Accelerator))}")
    if accelerator == "cpu":
        return "cpu"
    import torch

    available = torch.cuda.is_available()
    if accelerator == "cuda" and not available:
        raise UserError(f"{option}=cuda: torch sees no CUDA device here (choose cpu or auto)")
    return "cuda" if available else "cpu"


def check_shares(trainer: TrainerOptions, batch_size: int) -> None:
    """Refuse a ``trainer`` section that contradicts itself or cannot divide the batch.

    Raises:
        UserError: an option is wrong; the message names it.
    """
    devices, nodes, accumulate = trainer.devices, trainer.nodes, trainer.accumulate
    check_threads(trainer.threads, "trainer.threads")
    ranks, shared = trainer.ranks, trainer.tensor_parallel
    check_least(1, "trainer.", devices=devices, nodes=nodes, accumulate=accumulate, tensor_parallel=shared)
    clip = trainer.gradient_clip
    if clip is not None and not clip > 0:
        raise UserError(f"trainer.gradient_clip={clip}: expected a number above 0, or null for no limit")
    if trainer.strategy != "fsdp" and shared > 1:
        raise UserError(f"trainer.tensor_parallel={shared}: needs trainer.strategy=fsdp")
    if ranks % shared:
        raise UserError(f"trainer.tensor_parallel={shared}: must divide trainer.devices times trainer.nodes, {ranks}")
    if trainer.strategy == "fsdp" and trainer.compile:
        raise UserError("trainer.compile=true: not with trainer.strategy=fsdp (choose false, or strategy=ddp)")
    if trainer.strategy == "fsdp" and trainer.precision in ("16-mixed", "bf16-true"):
        raise UserError(f"trainer.precision={trainer.precision}: not with trainer.strategy=fsdp (choose bf16-mixed)")
    if batch_size % (trainer.shares * accumulate):
        by = f" (over trainer.tensor_parallel={shared})" if shared > 1 else ""
        raise UserError(
            f"batch.size={batch_size}: not divisible by trainer.devices={devices} times trainer.nodes={nodes}{by} "
            f"times trainer.accumulate={accumulate}"
        )


def check_devices(trainer: TrainerOptions, here: bool = True) -> None:
    """Refuse a ``trainer`` section that this machine has no devices for.

    Args:
        here: this machine trains.

    Raises:
        UserError: an option is wrong; the message names it.
    """
    kind = device_kind(trainer.accelerator, "trainer.accelerator") if here else trainer.accelerator
    if here and kind == "cuda":
        import torch

        if trainer.devices > torch.cuda.device_count():
            raise UserError(f"trainer.devices={trainer.devices}: this machine has {torch.cuda.device_count()} GPUs")
    if kind == "cpu" and trainer.precision == "16-mixed":
        raise UserError("trainer.precision=16-mixed: needs a GPU (bf16-mixed also runs on a CPU)")


def build_trainer(
    accelerator: Accelerator = "auto",
    devices: int = 1,
    nodes: int = 1,
    strategy: Literal["auto", "ddp", "fsdp"] = "auto",
    precision: Precision = "32-true",
    accumulate: int = 1,
    gradient_clip: float | None = 1.0,
    compile: bool = False,
    tensor_parallel: int = 1,
    activation_checkpointing: bool = False,
    threads: int | None = None,
    out_of_memory: Literal["halve", "fail"] = "halve",
    *,
    supplied: dict[str, Any] | None = None,
) -> Any:
    """Return a ``pytorch_lightning.Trainer`` for one run.

    Args:
        devices: processes on each node, one per device, started before by the launcher.
        nodes: machines.
        accumulate: micro-batches per optimizer step on each device.
        gradient_clip: largest norm of the whole gradient; ``None``: no limit.
        compile: the worker compiles the network (never the LightningModule).
        tensor_parallel: ranks that share the work of each layer, and so read the same rows.
        activation_checkpointing: the LightningModule recomputes blocks in the backward pass.
        threads: CPU threads per process; ``None``: the cores divided by the processes.
        out_of_memory: ``halve`` micro-batches that do not fit, or ``fail``
            (see :class:`lmlab.training.callbacks.OutOfMemory`, which the worker adds).
        supplied: further arguments of the Trainer, given by the worker.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from pytorch_lightning.strategies import DDPStrategy

    kind = device_kind(accelerator)
    backend = "nccl" if kind == "cuda" else "gloo"
    strategy_object: Any = "auto"
    if strategy == "fsdp":
        from lmlab.training.fsdp import FSDP

        strategy_object = FSDP(devices * nodes // tensor_parallel, tensor_parallel, process_group_backend=backend)
    elif devices * nodes > 1 or strategy == "ddp":
        strategy_object = DDPStrategy(process_group_backend=backend)
    return pl.Trainer(
        accelerator=kind,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy_object,
        precision=precision,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=gradient_clip,
        use_distributed_sampler=False,  # each rank computes its own share of every batch
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        # Explicit, so that SLURM's environment variables have no effect.
        plugins=[TorchElasticEnvironment() if devices * nodes > 1 else LightningEnvironment()],
        **(supplied or {}),
    )
