"""Time the dashboard's first page and updates, with many long runs.

    python scripts/benchmark/dashboard.py [--runs 1000] [--points 10000] [--updates 50]

Run directories are written without training, a tenth of them as if running. The server is the real command in a
separate process. It gets the HTTP requests of a browser: the page with its scripts, the rows of all runs and the first
curves; then repeated updates, while ten of the drawn runs grow and as many end. Half of the updates also request other
curves, which have not been read before.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from lmlab.runs.run import Run

DRAWN = 12
"""Number of runs that the page draws by default."""
GROWING = 10


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--points", type=int, default=10_000, help="rows of metrics.jsonl of each run")
    options.add_argument("--updates", type=int, default=50)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs"
        runs = lay_out(outputs / "runs", arguments.runs, arguments.points)
        locks = [run.try_lock() for run in runs[: max(1, arguments.runs // 10)]]
        started = time.perf_counter()
        with server(outputs) as address:
            listening = time.perf_counter() - started
            cold = first_page(address)
            warm = first_page(address)
            seconds = updates(address, runs, arguments.updates)
        for lock in locks:
            if lock is not None:
                lock.release()
    ordered = sorted(seconds)
    print(f"{arguments.runs} runs of {arguments.points} points")
    print(f"the command listens after {listening:.2f} s")
    for when, (rows, curves) in (("as soon as it listens", cold), ("later", warm)):
        print(f"first page {when}: all rows after {rows:.3f} s, the first curves after {curves:.3f} s (goal: 1 s)")
    worst = f"95 % under {1e3 * ordered[int(0.95 * len(ordered))]:.0f} ms, at most {1e3 * ordered[-1]:.0f} ms"
    print(f"update: median {1e3 * statistics.median(seconds):.0f} ms, {worst} (goal: 200 ms)")


def lay_out(folder: Path, count: int, points: int) -> list[Run]:
    """Write ``count`` runs; the first tenth has the status running."""
    model = {"_target_": "lmlab.models.language_model.LanguageModel", "width": 64, "depth": 2}
    config: dict[str, Any] = {"name": "lstm-text", "seed": 0, "tags": [], "model": model, "paths": {}}
    rows = "".join(row(step) for step in range(1, points + 1))
    runs = []
    for number in range(count):
        run = Run(folder / f"lstm-text-{number:08x}")
        status = "running" if number < max(1, count // 10) else "finished"
        run.create(
            config | {"seed": number},
            f"{number:08x}",
            status=status,
            choices={"model": ("lstm", "transformer", "mamba2")[number % 3]},
            sizes={"flops_per_token": 1e6},
            timings={"seconds": 10.0, "tokens_per_second": 1e4},
            metrics={"validation/loss": 1.5, "validation/bits_per_byte": 0.8} if status == "finished" else {},
            attempts=[{"started": "2026-01-01T00:00:00+00:00", "host": os.uname().nodename}],
        )
        run.metrics.write_text(rows)
        beat(run, points)
        runs.append(run)
    return runs


def row(step: int) -> str:
    """Return a line of ``metrics.jsonl``, as long as real ones."""
    content = {"step": step, "tokens": 2048 * step, "time/seconds": 0.05 * step, "train/loss": 1.5 + 1 / step}
    content |= {"train/perplexity": 4.5, "train/gradient_norm": 0.51234, "train/learning_rate": 1e-3}
    if step % 10 == 0:
        content |= {"validation/loss": 1.6 + 1 / step, "validation/bits_per_byte": 0.9}
    return json.dumps(content) + "\n"


def beat(run: Run, step: int) -> None:
    """Write a heartbeat."""
    content = {"phase": "training", "step": step, "steps": 2 * step, "tokens_per_second": 1e4, "seconds_left": 60.0}
    (run.path / "progress.json").write_text(json.dumps(content))


@contextmanager
def server(outputs: Path) -> Iterator[str]:
    """Run the dashboard of a folder in a separate process during a ``with`` block; yield its address."""
    command = [sys.executable, "-m", "lmlab", "dashboard", "port=0"]
    environment = os.environ | {"LMLAB_OUTPUTS": str(outputs)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.search(r"http://\S+", line)
            if match is None:
                sys.exit(f"the dashboard did not start: {line}")
            yield match[0]
        finally:
            process.terminate()


def get(address: str) -> Any:
    with urlopen(address, timeout=60) as answer:
        content = answer.read()
    return json.loads(content) if "/api/" in address else content.decode()


def ask(address: str, runs: list[str], **query: Any) -> Any:
    return get(f"{address}api/update?{urlencode({'run': runs, **query}, doseq=True)}")


def first_page(address: str) -> tuple[float, float]:
    """Return the seconds until a browser has the rows of all runs, and the first curves."""
    started = time.perf_counter()
    page = get(address)
    for file in re.findall(r'(?:src|href)="(page/[^"]+)"', page):
        get(address + file)
    for module in ("chart", "colours", "details", "server", "table", "words"):
        get(f"{address}page/{module}.js")
    while not (answer := get(f"{address}api/update"))["complete"]:
        time.sleep(0.1)  # as the page does
    rows = time.perf_counter() - started
    newest = sorted(answer["runs"], key=lambda key: answer["runs"][key]["status"] != "running")[:DRAWN]
    while ask(address, newest, session=answer["session"], since=answer["number"])["drawn"]["pending"]:
        time.sleep(0.1)
    return rows, time.perf_counter() - started


def updates(address: str, runs: list[Run], count: int) -> list[float]:
    """Return the seconds of each of ``count`` updates, while runs grow."""
    growing, others = runs[:GROWING], runs[GROWING:]
    names = [run.path.name for run in growing]
    answer = ask(address, names)
    seconds = []
    step = 1_000_000
    for number in range(count):
        for run in growing:
            step += 1
            with run.metrics.open("a") as file:
                file.write(row(step))
            beat(run, step)
        time.sleep(0.6)
        query = {key: answer[key] for key in ("session",)} | {"since": answer["number"]}
        new = [run.path.name for run in others[5 * number : 5 * number + 5]] if number % 2 else []
        started = time.perf_counter()
        answer = ask(address, names + new, curves_since=0 if new else answer["drawn"]["number"], **query)
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
