"""Time reading many runs: their records, their curves, new rows, and a report.

    python scripts/benchmark/reading.py [--runs 1000] [--points 10000] [--grown 10] [overrides ...]

The runs are synthetic, but as large as real ones (1,000 runs of 10,000 points take 2.5 GB in the temporary folder).
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
from rich.console import Console
from rich.table import Table
from synthetic import rows_of, write_runs

from lmlab.analysis.comparison import compare
from lmlab.analysis.records import Records, read
from lmlab.analysis.report.folder import write
from lmlab.analysis.selection import directories
from lmlab.runs.logged import CURVES
from lmlab.runs.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=10_000, help="rows of training metrics of each run")
    parser.add_argument("--grown", type=int, default=10, help="runs that log ten rows more before the last reading")
    parser.add_argument("overrides", nargs="*", help="further overrides of lmlab train")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "runs"
        runs: list[Run] = []
        for model, count in (("lstm", options.runs // 2), ("transformer", options.runs - options.runs // 2)):
            config = harness.composed(f"model={model}", *options.overrides)
            runs += write_runs(folder, config, count, options.points)
        size = sum(run.metrics.stat().st_size for run in runs)
        table = Table(
            title=f"{options.runs:,} runs of {options.points:,} points, {size / 1e6:,.0f} MB", title_justify="left"
        )
        for heading in ("what", "seconds", "of the processor"):
            table.add_column(heading, justify="left" if heading == "what" else "right")

        def timed(what: str, step: Callable[[], Any]) -> Any:
            start, used = time.perf_counter(), processor_seconds()
            result = step()
            table.add_row(what, *(f"{now:.3f}" for now in (time.perf_counter() - start, processor_seconds() - used)))
            return result

        again = timed("records (manifest, configuration, status)", lambda: read(directories(folder)))
        rows = timed("curves of finished runs", lambda: curves(again))
        timed("nothing new", lambda: changed(again))
        for run in runs[: options.grown]:
            with run.metrics.open("a") as file:
                file.writelines(rows_of(np.random.default_rng(0), 10, options.points + 1))
        grown = timed(f"ten rows more of {options.grown} runs", lambda: changed(again))
        records = read(directories(folder)).readable
        timed("a report of all of them", lambda: write(compare(records), {}, Path(temporary) / "report"))
        for run in runs:
            run.metrics.with_name(CURVES).unlink()
        unfinished = read(directories(folder))
        timed("curves of unfinished runs", lambda: curves(unfinished))
        console = Console()
        console.print(table)
        console.print(f"{rows / options.runs:,.0f} rows of a run are kept; {grown} runs had grown.")


def curves(records: Records) -> int:
    """Read all curves and return the number of their rows."""
    return sum(len(record.curves.columns["step"]) for record in records.readable)


def processor_seconds() -> float:
    """Return the processor seconds of this process and its ended children."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def changed(records: Records) -> int:
    """Read new rows, and return how many runs have grown."""
    return sum(record.log.read() for record in records.readable)


if __name__ == "__main__":
    main()
