"""Time the starts of a sweep's runs: seconds for each of many tiny runs, from start to end.

    python scripts/benchmark/sweep_starts.py [--runs 4] [--rounds 3] [overrides ...]

Five ways take turns: one after another, forked from a process that has already imported the libraries, as in sweeps;
the same with runs that log to W&B, offline; two at a time from there; each in a new interpreter; and all of them in
this process, as Hydra's own launcher does it, which is the lower bound but does not isolate runs from each other.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import harness
from rich.console import Console
from rich.table import Table

from lmlab.commands.train import create
from lmlab.config.nodes import Config
from lmlab.processes.spawn import warm_up
from lmlab.runs.run import Run
from lmlab.sweeps.engines.local import Local
from lmlab.sweeps.sweep import Job
from lmlab.training.preflight import check
from lmlab.training.worker import train

TINY = ["data=parity", "model=lstm", "model.width=16", "model.depth=1", "batch.size=4", "batch.context=16"]
TINY += ["budget.tokens=640", "validation.times=1", "validation.tokens=256", "trainer=cpu", "trainer.threads=1"]

COLD = """
import sys
from pathlib import Path
from lmlab.training.process import main
from lmlab.runs.run import Run

main(Run(Path(sys.argv[1])))
"""

WARM, WANDB, PAIRS = "warm, one at a time", "warm, with W&B offline", "warm, two at a time"
COLDLY, HERE = "an interpreter each", "in one process"


def by(engine: Local, runs: list[Run]) -> None:
    """Execute runs with an engine."""
    waiting = [Job(number, [], path=str(run.path)) for number, run in enumerate(runs)]
    under_way: list[Job] = []
    while waiting or under_way:
        while waiting and engine.free > 0:
            under_way.append(waiting.pop(0))
            engine.submit(under_way[-1])
        for job in engine.poll(0.25):
            under_way.remove(job)


def coldly(runs: list[Run]) -> None:
    """Start an interpreter for each run."""
    for run in runs:
        subprocess.run([sys.executable, "-c", COLD, str(run.path)], check=True, stderr=subprocess.DEVNULL)


def here(runs: list[Run]) -> None:
    """Train in this process."""
    for run in runs:
        train(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4, help="runs of each way in a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, after one that is not counted")
    parser.add_argument("overrides", nargs="*", help="further overrides of lmlab train")
    options = parser.parse_args()
    os.environ["WANDB_MODE"] = "offline"
    del sys.modules["__main__"].__file__  # otherwise every process of a run executes the imports of this file
    warm_up()
    one, two = Local(workers=1), Local(workers=2)
    ways: dict[str, Callable[[list[Run]], None]] = {
        WARM: lambda runs: by(one, runs),
        WANDB: lambda runs: by(one, runs),
        PAIRS: lambda runs: by(two, runs),
        COLDLY: coldly,
        HERE: here,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with harness.scratch(1) as folder:
        config = harness.composed(*TINY, f"paths.outputs={folder}", *options.overrides)
        logged = harness.composed(*TINY, f"paths.outputs={folder}", "logger=wandb", *options.overrides)
        data = check(config).describe()
        for turn in range(options.rounds + 1):
            for number, (name, way) in enumerate(ways.items()):
                paths = [folder / f"{turn}-{number}-{i}" for i in range(options.runs)]
                used = logged if name == WANDB else config
                runs = [laid_out(used, path, seed, data) for seed, path in enumerate(paths)]
                start = time.perf_counter()
                way(runs)
                seconds = time.perf_counter() - start
                if not all(run.weights.exists() for run in runs):
                    sys.exit(f"{name}: a run did not finish: {runs[0].log.read_text() if runs[0].log.exists() else ''}")
                if turn:
                    times[name].append(seconds / options.runs)
    report(times, options.runs)


def laid_out(config: Config, path: Path, seed: int, data: dict) -> Run:
    """Return the directory of a run with a seed, ready to be executed."""
    create(run := Run(path), config | {"seed": seed}, data=data)
    return run


def report(found: dict[str, list[float]], runs: int) -> None:
    """Print seconds a run of every way, and their ratios, round by round."""
    table = Table(title=f"Runs of a sweep, {runs} in a round", title_justify="left")
    for heading in ("way", "median s a run", "least", "most"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for name, seconds in found.items():
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds))))
    console = Console()
    console.print(table)
    for name, other in ((WARM, COLDLY), (WARM, HERE), (WANDB, WARM), (PAIRS, WARM)):
        ratios = [a / b for a, b in zip(found[name], found[other], strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        console.print(f"{name} / {other}: median {statistics.median(ratios):.2f} of {len(ratios)} rounds {spread}")


if __name__ == "__main__":
    main()
