"""The process that trains a run: ``python -m lmlab.training.worker <run directory>``, once per device.

It reads nothing but the run directory.
"""

import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import save_model

from lmlab.config import Config, build, validate
from lmlab.data.datamodule import LanguageDataModule
from lmlab.data.source import Source
from lmlab.errors import UserError
from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import describe_sizes
from lmlab.runs.execution import end_with_parent, get_rank
from lmlab.runs.files import write_json, write_whole
from lmlab.runs.provenance import hardware
from lmlab.runs.run import LAST, Run
from lmlab.targets import accepted
from lmlab.training import callbacks
from lmlab.training.loggers.jsonl import JsonlLogger, drop_rows_after
from lmlab.training.metrics import LanguageModelMetrics
from lmlab.training.module import LanguageModeling, step_seed
from lmlab.training.preflight import build_model, open_source
from lmlab.training.settings import Settings
from lmlab.training.trainer import set_threads


def train(run: Run) -> None:
    """Train what the run directory describes, from its last checkpoint if it has one, and leave the results there."""
    config = run.config
    validate(config)
    settings = Settings.of(config)
    set_threads(config["trainer"]["threads"], config["trainer"]["devices"])

    source = open_source(config)
    torch.manual_seed(step_seed(settings.seed, -1, 0))  # the same first weights on every rank
    model = build_model(config, source)
    describe(run, model, source, config, settings)
    if config["trainer"]["compile"]:
        model.compile()

    data = make_data(config, source)
    module = make_module(config, settings, source, model)
    clock = callbacks.Clock()
    watching = [clock, *build_callbacks(run, config, source)]
    checkpoint = resume(run)
    loggers = build_loggers(run, config)
    try:
        trainer = make_trainer(run, config, settings, watching, loggers)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        if module.validated_step != module.global_step:
            trainer.validate(module, data, verbose=False)
        finish(run, trainer, module, clock)
    except BaseException:
        close(loggers, {}, exit_code=1)
        raise
    close(loggers, run.manifest["metrics"], exit_code=0)


def make_data(config: Config, source: Source) -> LanguageDataModule:
    """The datamodule of a configuration."""
    return LanguageDataModule(source, accumulate=config["trainer"]["accumulate"])


def make_module(config: Config, settings: Settings, source: Source, model: LanguageModel) -> LanguageModeling:
    """The LightningModule of a configuration."""
    return LanguageModeling(
        model,
        build(config["objective"]),
        build(config["optimizer"]),
        build(config["scheduler"]),
        seed=settings.seed,
        total_steps=settings.steps,
        tokens_per_step=settings.tokens_per_step,
        validation_metrics={
            split: LanguageModelMetrics(source.tokens_per_byte(split)) for split in source.scored_splits
        },
        log_every=settings.log_every,
        carry_state=settings.batch.carry_state,
    )


@rank_zero_only
def describe(run: Run, model: LanguageModel, source: Source, config: Config, settings: Settings) -> None:
    """Record sizes, data and device before training, and keep the tokenizer with the run."""
    if not run.tokenizer.exists():
        write_whole_folder(run.tokenizer, source)
    manifest = run.manifest
    run.update(
        sizes=describe_sizes(model, settings.batch.context) | {"width": config["model"].get("width")},
        provenance=manifest["provenance"] | {"hardware": hardware()},
        training={"steps": settings.steps, "compiled": config["trainer"]["compile"]},
    )


def write_whole_folder(folder: Path, source: Source) -> None:
    """Save the tokenizer beside its place and move the complete folder there."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    temporary.mkdir(exist_ok=True)
    source.tokenizer.save(temporary)
    temporary.replace(folder)


def resume(run: Run) -> Path | None:
    """Return the checkpoint to go on from, with the rows after it removed; ``None`` for a fresh start.

    Raises:
        UserError: the checkpoint cannot be read.
    """
    path = run.checkpoints / LAST
    step = 0
    if path.exists():
        try:
            step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]
        except Exception as error:
            raise UserError(
                f"{path}: the checkpoint cannot be read, it is cut short or damaged; delete it to train this run anew"
            ) from error
    if get_rank() == 0:
        for rows in (run.metrics, run.samples):
            drop_rows_after(rows, step)
    return path if step else None


def build_loggers(run: Run, config: Config) -> list[Any]:
    """JSON lines always, and what the configuration asks for."""
    chosen = [build(node, run=run) for node in (config.get("logger") or {}).values()]
    return [JsonlLogger(run.metrics), *(logger for logger in chosen if logger is not None)]


def build_callbacks(run: Run, config: Config, source: Source) -> list[Any]:
    """The callbacks of a configuration, each given what it has a parameter for of what a run can offer."""
    offered = {
        "run": run,
        "folder": run.checkpoints,
        "tokenizer": source.tokenizer,
        "context": config["batch"]["context"],
    }
    chosen = [build(node, **accepted(node, offered)) for node in config["callbacks"].values() if node]
    return [*chosen, callbacks.Progress(run.path.name)] if config["progress"] else chosen


def make_trainer(run: Run, config: Config, settings: Settings, watching: list[Any], loggers: list[Any]) -> Trainer:
    """The Lightning trainer with this run's callbacks, loggers and schedule of validation."""
    arguments = {
        "callbacks": watching,
        "logger": loggers,
        "max_steps": settings.steps,
        "val_check_interval": settings.validation_interval * config["trainer"]["accumulate"],
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 1,
        "default_root_dir": run.path,
    }
    trainer = build(config["trainer"], supplied=arguments)
    assert isinstance(trainer, Trainer)
    return trainer


@rank_zero_only
def finish(run: Run, trainer: Trainer, module: LanguageModeling, clock: callbacks.Clock) -> None:
    """Write the final weights, metrics and timings; the run is finished once its manifest says so."""
    module.weights_to("eval")
    write_whole(run.weights, lambda path: save_model(module.model, str(path)))
    metrics = {name: value for name, value in module.latest.items() if name.partition("/")[0] in module.scored_splits}
    timings = {
        "seconds": round(clock.seconds, 3),
        "tokens": module.tokens_seen,
        "tokens_per_second": round(module.tokens_seen / max(clock.seconds, 1e-9), 1),
    }
    if torch.cuda.is_available():
        timings["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    run.update(
        status="finished",
        metrics=metrics,
        timings=timings,
        training=run.manifest["training"] | {"stopped_at": trainer.global_step},
    )


def close(loggers: list[Any], summary: dict[str, Any], exit_code: int) -> None:
    """End loggers that have an end of their own, so that no W&B run stays open."""
    for logger in loggers:
        if hasattr(logger, "finish"):
            logger.finish(summary, exit_code)


def leave_process_group() -> None:
    """End the communication with the other ranks while the interpreter is still whole.

    Gloo's threads may hold tensors of the last operation; one that lets go of them while the interpreter is being taken
    down aborts the process, and a run that is complete would count as failed.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def main() -> None:
    """Entry point of the process: records why it failed where the asking process finds it."""
    sys.path.append(str(Path.cwd()))  # where a user's own modules lie; behind everything, so that they shadow nothing
    end_with_parent()
    run = Run(Path(sys.argv[1]))
    logging.basicConfig(filename=run.log, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).handlers.clear()  # to the run's log, not to the terminal
        logging.getLogger(name).propagate = True
    warnings.simplefilter("default")
    try:
        train(run)
        leave_process_group()
    except Exception as error:
        logging.getLogger("lmlab").exception("the run failed")
        if not run.error.exists():
            lines = str(error).splitlines() or [""]
            message = lines[0] if isinstance(error, UserError) else f"{type(error).__name__}: {lines[0]}"
            kind = "UserError" if isinstance(error, UserError) else "Exception"
            write_json(run.error, {"kind": kind, "message": message, "traceback": traceback.format_exc()})
        logging.shutdown()
        os._exit(1)  # at once: another rank may be waiting inside a collective operation


if __name__ == "__main__":
    main()
