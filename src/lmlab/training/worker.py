"""Train the run of a run directory, from its last checkpoint if it has one."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities import rank_zero_only

from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Experiment
from lmlab.data.datamodule import LanguageDataModule
from lmlab.data.order import step_seed
from lmlab.data.tasks import Task
from lmlab.errors import Interrupted, UserError
from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import describe_sizes
from lmlab.processes import signals, stacks
from lmlab.processes.layout import get_rank
from lmlab.runs import checkpoints, events
from lmlab.runs.files import clear_leftovers, remove, write_json, write_whole
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.logged import Log
from lmlab.runs.lookup import config_here
from lmlab.runs.provenance import hardware
from lmlab.runs.run import Run
from lmlab.training import accounting, callbacks, parallel, start
from lmlab.training.allocator import keep_freed_memory
from lmlab.training.callbacks.out_of_memory import fitting
from lmlab.training.load import check_loadable
from lmlab.training.loggers.logger import JsonlLogger, RunLogger, drop_rows_after
from lmlab.training.module import LanguageModeling
from lmlab.training.objectives import StepContext
from lmlab.training.optimizers.groups import make_optimizer
from lmlab.training.parallel import save_weights
from lmlab.training.preflight import build_model, open_task
from lmlab.training.schedules import as_schedule
from lmlab.training.scoring import Scoring
from lmlab.training.threads import use_threads


def train(run: Run) -> None:
    """Train the run of a run directory, from its last checkpoint if it has one, and write the results there."""
    if get_rank() == 0:
        Heartbeat("starting").write(run)
    config = config_here(run)
    validate(config)
    forget_pruning(run)
    experiment, pieces = fitting(run, Experiment.of(config))
    use_threads(experiment.trainer.threads, experiment.trainer.devices)
    keep_freed_memory()

    task = open_task(experiment, run=run)
    experiment = replace(experiment, tokens_per_step=task.tokens_per_step)
    torch.manual_seed(step_seed(experiment.seed, -1, 0))  # the same first weights on every rank
    model = build_model(experiment, task)
    left_out = [(row.get("to"), row["step"]) for row in events.done(run, "roll_back")]
    data = make_data(experiment, task, left_out, experiment.validation_part)
    describe(run, model, data, experiment)
    if experiment.trainer.activation_checkpointing:
        parallel.recompute(model)
    if experiment.trainer.compile:
        model.compile()

    parent = run.manifest.get("start") or {"position": 0, "steps": 0}
    data.first = parent["position"]
    module = make_module(experiment, task, model)
    clock, memory = callbacks.Clock(), callbacks.PeakMemory()
    watching = [
        clock,
        memory,
        callbacks.Stopping(),
        callbacks.Contract(run, experiment.batch.context, experiment.trainer.compile),
        callbacks.Heartbeats(run),
        *build_callbacks(run, experiment, task),
        callbacks.OutOfMemory(run, experiment, pieces),
    ]
    for callback in watching:
        if isinstance(callback, callbacks.Clock | callbacks.Watchdog):
            task.on_wait(callback.wait)
    signals.check()
    checkpoint = resume(run)
    module.steps_before = parent["steps"]
    if checkpoint is None and run.start.exists():
        start.begin(run, experiment, module)
    loggers = build_loggers(run, experiment, module)
    try:
        signals.check()
        trainer = make_trainer(run, experiment, watching, loggers)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        if module.all_validated_step != module.global_step:
            trainer.validate(module, data, verbose=False)
        finish(run, experiment, trainer, module, clock, memory)
    except BaseException as error:
        pruned = isinstance(error, Interrupted) and run.pruned.exists()
        close(loggers, {"status": "pruned"} if pruned else {}, exit_code=0 if pruned else 1)
        raise
    close(loggers, {**run.manifest["metrics"], "status": "finished"}, exit_code=0)


def make_data(
    experiment: Experiment, task: Task, left_out: Sequence[tuple[int | None, int]] = (), part: int | None = None
) -> LanguageDataModule:
    """Return the datamodule of a configuration, without the batches that a run has ``left_out``.

    Args:
        part: tokens that each validation but the last scores; ``None``: all.
    """
    return LanguageDataModule(task, experiment.trainer.accumulate, left_out, part)


def make_module(experiment: Experiment, task: Task, model: LanguageModel) -> LanguageModeling:
    """Return the LightningModule of a configuration."""
    return LanguageModeling(
        model,
        build(experiment.objective),
        partial(make_optimizer, experiment.optimizer),
        as_schedule(build(experiment.scheduler)),
        seed=experiment.seed,
        total_steps=experiment.steps,
        tokens_per_step=experiment.tokens_per_step or experiment.batch.tokens,
        step_context=StepContext(task.tokenizer, experiment.batch.context, experiment.trainer.compile),
        scoring=Scoring(task),
        log_every=experiment.log_every,
        carry_state=experiment.batch.carry_state,
    )


@rank_zero_only
def describe(run: Run, model: LanguageModel, data: LanguageDataModule, experiment: Experiment) -> None:
    """Record sizes, data and device before training, and keep the tokenizer with the run."""
    if not run.tokenizer.exists():

        def save(temporary: Path) -> None:
            temporary.mkdir()
            data.task.tokenizer.save(temporary)

        write_whole(run.tokenizer, save)
    manifest = run.manifest
    run.update(
        measures=data.task.measures().to_record(),
        sizes=describe_sizes(model, experiment.batch.context) | {"width": experiment.model.get("width")},
        provenance=manifest["provenance"] | {"hardware": hardware()},
        training={
            "steps": experiment.steps,
            **({} if experiment.tokens_per_step is None else {"tokens_per_step": experiment.tokens_per_step}),
            "compiled": experiment.trainer.compile,
            "accumulate": experiment.trainer.accumulate,
            "validation": {
                split: {"part": len(part), "all": len(part) + len(rest), "length": data.task.length(split)}
                for split, (part, rest) in data.scored.items()
            },
        },
    )


def resume(run: Run) -> Path | None:
    """Return the state to resume from, a file or a folder; ``None`` for a fresh start. Later rows are removed.

    A damaged checkpoint is skipped with a warning, on the terminal and in the log. All ranks choose the same one.

    Raises:
        UserError: all checkpoints are damaged.
    """
    first = get_rank() == 0
    if first:
        clear_leftovers(run.path)
        clear_leftovers(run.checkpoints)

    def warn(line: str) -> None:
        if first:
            logging.getLogger("lmlab").warning(line)
            print(line, file=sys.stderr)

    newest = checkpoints.newest_good(run.checkpoints, warn, check_loadable)
    before = run.checkpoints / checkpoints.BY_EARLIER_VERSIONS
    if newest is None and before.exists():
        try:
            check_loadable(before)
        except checkpoints.Damaged as error:
            raise UserError(f"{before}: {error}; delete it to train this run from the beginning") from error
        step = torch.load(before, map_location="cpu", weights_only=True, mmap=True)["global_step"]
        newest = checkpoints.Good(step, step, before)
    step, validated_step = (newest.step, newest.validated_step) if newest else (0, 0)
    if first:
        if newest is None or newest.state != before:
            checkpoints.restore_best(run.checkpoints, newest and newest.step, warn)
        for rows in (run.metrics, run.samples):
            drop_rows_after(rows, step, validated_step)
        events.settle(run, step)
    return newest and newest.state


def build_loggers(run: Run, experiment: Experiment, module: LanguageModeling) -> list[Any]:
    """Return the JSON lines logger and the configured loggers."""
    loggers = [build(node, run=run) for node in experiment.loggers.values()]
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.module = module
    return [JsonlLogger(run.metrics, module), *(logger for logger in loggers if logger is not None)]


def build_callbacks(run: Run, experiment: Experiment, task: Task) -> list[Any]:
    """Return the callbacks of a configuration."""
    supplied = {
        "run": run,
        "folder": run.checkpoints,
        "tokenizer": task.tokenizer,
        "context": experiment.batch.context,
    }
    built = []
    for key, node in experiment.callbacks.items():
        built.append(build(node, **supplied))
        if not isinstance(built[-1], Callback):
            target = node["_target_"]
            raise UserError(f"callbacks.{key}._target_={target}: expected a subclass of pytorch_lightning.Callback")
    return [*built, callbacks.Progress(run.path.name, run.measures)] if experiment.progress else built


def make_trainer(run: Run, experiment: Experiment, watching: list[Any], loggers: list[Any]) -> Trainer:
    """Return the Lightning trainer with this run's callbacks, loggers and schedule of validation."""
    arguments = {
        "callbacks": watching,
        "logger": loggers,
        "max_steps": experiment.steps,
        "val_check_interval": experiment.validation_interval * experiment.trainer.accumulate,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 1,
        "default_root_dir": run.path,
    }
    trainer = build(experiment.trainer.node, supplied=arguments)
    assert isinstance(trainer, Trainer)
    return trainer


def finish(
    run: Run,
    experiment: Experiment,
    trainer: Trainer,
    module: LanguageModeling,
    clock: callbacks.Clock,
    memory: callbacks.PeakMemory,
) -> None:
    """Write the final weights, metrics and costs; the run is finished once its manifest says so.

    Called on every rank: the weights may be in shards.
    """
    module.weights_to("eval")
    save_weights(module.model, run.weights)
    if module.ema is not None:
        module.weights_to("ema")
        save_weights(module.model, run.ema)
        module.weights_to("eval")
    timings = accounting.timings(run, experiment, trainer, module, clock, memory)
    generation = accounting.generation(experiment, trainer, module)
    if not trainer.is_global_zero:
        return
    metrics = {name: value for name, value in module.latest.items() if name.partition("/")[0] in module.scoring.splits}
    if module.breakdown:
        write_json(run.breakdown, module.breakdown)
    Log(run.metrics).write_curves()
    task = module.scoring.task
    run.update(
        status="finished",
        metrics=metrics,
        baselines={split: scores for split in task.scored_splits if (scores := task.baselines(split))},
        timings=timings,
        generation=generation,
        weights={path.name: checkpoints.checksum(path) for path in (run.weights, run.best, run.ema) if path.exists()},
        training=run.manifest["training"] | {"stopped_at": trainer.global_step},
    )
    Heartbeat.remove(run)
    stacks.clear(run)


@rank_zero_only
def forget_pruning(run: Run) -> None:
    """Remove the record that an earlier attempt was pruned."""
    remove(run.pruned)


def close(loggers: list[Any], summary: dict[str, Any], exit_code: int) -> None:
    """Close loggers that need it, so that no W&B run stays open.

    A pruned run has not failed, but has no final metrics either: its summary has only the ``status``.
    """
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.finish(summary, exit_code)
