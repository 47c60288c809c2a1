"""Shared parts of the benchmarks: time steps of this project's training in turn with another loop.

Everything runs in one process, in blocks that alternate, so that drifts of the machine's speed affect all arms equally.
The results are the medians and their ratio.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lmlab.config.canonical import CONF, canonical
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config
from lmlab.runs.run import Run
from lmlab.training import callbacks
from lmlab.training.allocator import keep_freed_memory
from lmlab.training.preflight import build_model, open_task
from lmlab.training.threads import use_threads
from lmlab.training.worker import build_callbacks, build_loggers, make_data, make_module, make_trainer

SKIPPED = 3
"""Steps at the start of every block that are not counted."""

Block = Callable[[int], list[float]]
"""A function that runs a number of steps and returns the seconds of each."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=6, help="blocks of each arm, in turn")
    options.add_argument("--steps", type=int, default=25, help="steps in a block")
    options.add_argument("--threads", type=int, default=None, help="CPU threads; default: all cores")
    return options


def composed(*overrides: str) -> Config:
    """Return the configuration that ``lmlab train <overrides>`` composes, logged to JSON lines only."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "train", ["logger=[]", "progress=false", "scheduler.warmup=0", *overrides], return_hydra_config=True
        )
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        return canonical(config)


class StepTimes(pl.Callback):
    """Seconds from the start of one training batch to the start of the next: the whole loop, not the step alone."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.starts.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]


class Ours:
    """This project's training of a configuration: module, datamodule, callbacks and loggers as in a run."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.experiment = Experiment.of(config)
        self.task = open_task(self.experiment, progress=True)
        torch.manual_seed(0)
        self.model = build_model(self.experiment, self.task)
        self.blocks = 0

    def block(self, steps: int) -> list[float]:
        """Train for ``steps`` steps and return the seconds of each."""
        self.blocks += 1
        run = Run(self.folder / f"block-{self.blocks}")
        run.path.mkdir()
        experiment = self.experiment.with_options(budget={"tokens": (steps + 1) * self.experiment.batch.tokens})
        times = StepTimes()
        watching = [callbacks.Clock(), *build_callbacks(run, experiment, self.task)]
        module = make_module(experiment, self.task, self.model)
        trainer = make_trainer(run, experiment, watching, build_loggers(run, experiment, module))
        trainer.callbacks.append(times)  # type: ignore[attr-defined]
        trainer.limit_val_batches = 0
        trainer.fit(module, make_data(experiment, self.task))
        return times.seconds


def in_turn(arms: dict[str, Block], rounds: int, steps: int) -> dict[str, list[float]]:
    """Run a block of every arm, in turn, ``rounds`` times after one that is not counted; return seconds per step."""
    medians: dict[str, list[float]] = {name: [] for name in arms}
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("timing", total=(rounds + 1) * len(arms))
        for turn in range(rounds + 1):
            for name, block in arms.items():
                seconds = block(steps + SKIPPED)[SKIPPED:]
                if turn:
                    medians[name].append(statistics.median(seconds))
                bars.advance(bar)
    return medians


def report(title: str, found: dict[str, list[float]], ours: str, other: str, goal: float) -> None:
    """Print milliseconds per step of every arm and the ratio of ``ours`` to ``other``, round by round."""
    table = Table(title=title, title_justify="left")
    for heading in ("arm", "median ms a step", "least", "most"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for name, seconds in found.items():
        row = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, *(f"{1e3 * value:.2f}" for value in row))
    console = Console()
    console.print(table)
    ratios = [one / two for one, two in zip(found[ours], found[other], strict=True)]
    console.print(
        f"{ours} / {other}: median {statistics.median(ratios):.3f} of {len(ratios)} rounds "
        f"({min(ratios):.3f} to {max(ratios):.3f}); the goal is at most {goal:.2f}. "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}."
    )


@contextmanager
def scratch(threads: int | None) -> Iterator[Path]:
    """Yield a temporary folder for the files of the timed runs, with threads set as in a run."""
    import logging
    import warnings

    os.environ["WANDB_MODE"] = "offline"
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    use_threads(threads, 1)
    keep_freed_memory()  # as in a run; it affects all arms
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
