"""Time commands from start to end, as multiples of the time that importing torch takes.

    python scripts/benchmark/commands.py [--rounds 5] [--only describe,plan] [overrides of the tiny run ...]

Each one starts a new process, in turn with ``python -c "import torch"``, in an empty folder with a tiny run to work on.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

TINY = ["data=parity", "model=lstm", "model.width=16", "model.depth=1", "batch.size=4", "batch.context=16"]
TINY += ["budget.tokens=640", "validation.times=1", "validation.tokens=256", "trainer=cpu"]

IMPORT = "import torch"
GOALS = {
    "describe": 1.3,
    "generate": 1.3,
    "evaluate": 1.5,
    "plan": 1.5,
    "report": 1.5,
    "train": 2.2,
    "runs": 0.5,
    "--help": 0.2,
}
"""Multiples of the time of ``IMPORT`` that each command may take."""


def words(name: str, run: str, turn: int, overrides: list[str]) -> list[str]:
    """Return the command line of a command."""
    match name:
        case "describe":
            return ["describe", "model=lstm"]
        case "generate":
            return ["generate", f"run={run}", "prompt=0", "length=1"]
        case "evaluate":
            return ["evaluate", f"run={run}"]
        case "report":
            return ["report", f"runs={run}"]
        case "train":
            return ["train", *TINY, *overrides, f"seed={100 + turn}"]
        case _:
            return [name]


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command and return its seconds, by the clock and of the processor, all of its processes together."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0 and command[3:4] != ["report"]:  # a single run cannot be compared
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def scratch(overrides: list[str]) -> Iterator[tuple[Path, str]]:
    """Yield a folder with a finished tiny run, and the run's name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"LMLAB_OUTPUTS": str(folder / "outputs"), "WANDB_MODE": "offline"}
        timed([sys.executable, "-m", "lmlab", *words("train", "", -1, overrides)], folder)
        (run,) = (folder / "outputs" / "runs").iterdir()
        yield folder, run.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, after one that is not counted")
    parser.add_argument("--only", default=",".join(GOALS), help="the commands, with commas between them")
    parser.add_argument("overrides", nargs="*", help="further overrides of lmlab train")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in GOALS]:
        sys.exit(f"--only={unknown[0]}: expected some of {', '.join(GOALS)}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (IMPORT, *names)}
    with scratch(options.overrides) as (folder, run), Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("timing", total=(options.rounds + 1) * len(times))
        for turn in range(options.rounds + 1):
            for name, measured in times.items():
                command = (
                    ["-c", IMPORT] if name == IMPORT else ["-m", "lmlab", *words(name, run, turn, options.overrides)]
                )
                measured.append(timed([sys.executable, *command], folder))
                bars.advance(bar)
        shutil.rmtree(folder / "outputs")
    show({name: measured[1:] for name, measured in times.items()})


def show(times: dict[str, list[tuple[float, float]]]) -> None:
    """Print the median times of every command and their multiples of importing torch, round by round."""
    table = Table(title=f"Medians of {len(times[IMPORT])} cold starts", title_justify="left")
    for heading in ("command", "seconds", "of the processor", "x import torch", "least", "most", "goal"):
        table.add_column(heading, justify="left" if heading == "command" else "right")
    for name, measured in times.items():
        ratios = [ours[0] / torch[0] for ours, torch in zip(measured, times[IMPORT], strict=True)]
        medians = [statistics.median(column) for column in zip(*measured, strict=True)]
        values = (*medians, statistics.median(ratios), min(ratios), max(ratios))
        table.add_row(name, *(f"{value:.2f}" for value in values), f"{GOALS[name]:.1f}" if name in GOALS else "")
    Console().print(table)


if __name__ == "__main__":
    main()
