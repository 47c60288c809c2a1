"""Compare short runs of everything that can be trained with the results recorded in tests/golden.

    python scripts/golden.py                        run all entries and print changed results (minutes on one core)
    python scripts/golden.py --only lstm/brier,muon entries with these parts in their names; * matches anything
    python scripts/golden.py --tolerance 0          to the bit
    python scripts/golden.py --record               write the current results

Results agree to the bit only on the kind of processor and with the version of torch that they were recorded with; the
first line names them. Elsewhere, choose --tolerance 1e-4; texts may then differ where probabilities are close.
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from queue import SimpleQueue

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
# Commands are forked from processes that have imported the libraries; compiled lmlab modules are cached as well.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from command_line import CommandLine
from golden_entries import ENTRIES, Entry
from golden_results import (
    Difference,
    EntryFailed,
    Result,
    Runner,
    differences,
    environment_of,
    read_golden,
    write_golden,
)
from rich.console import Console
from rich.table import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the results instead of comparing them")
    parser.add_argument(
        "--only", default="*", metavar="PART,...", help="entries with one of these parts in their names"
    )
    parser.add_argument("--tolerance", type=float, default=1e-6, help="largest relative difference (default: 1e-6)")
    parser.add_argument("--jobs", type=int, default=1, help="entries computed at a time (default: 1)")
    parser.add_argument("--list", action="store_true", help="print the names of the entries")
    arguments = parser.parse_args()
    entries = [entry for entry in ENTRIES if is_chosen(entry.name, arguments.only)]
    if not entries:
        sys.exit(f"--only {arguments.only}: no entry has such a part in its name (--list prints the names)")
    if arguments.list:
        print(*(entry.name for entry in entries), sep="\n")
        return
    with tempfile.TemporaryDirectory(prefix="lmlab-golden-") as scratch:
        results, environment = compute(entries, Path(scratch), arguments.jobs)
    if arguments.record:
        failed = record(results, environment)
    else:
        failed = compare(entries, results, environment, arguments.tolerance)
    sys.exit(int(failed))


def is_chosen(name: str, only: str) -> bool:
    """Return whether consecutive parts of an entry's name match one of several patterns."""
    return any(fnmatch(f"/{name}/", f"*/{pattern.strip('/')}/*") for pattern in only.split(","))


def compute(entries: list[Entry], scratch: Path, jobs: int) -> tuple[dict[str, Result], dict[str, str]]:
    """Run entries, several at a time, and return their results and where they were computed."""
    runners: SimpleQueue[Runner] = SimpleQueue()
    os.environ |= {"XDG_CONFIG_HOME": str(scratch), "PYTHONPYCACHEPREFIX": str(scratch / "compiled")}
    for number in range(jobs):
        (folder := scratch / str(number)).mkdir()
        runners.put(Runner(CommandLine(), folder))
    results: dict[str, Result] = {}
    started = time.monotonic()

    def one(entry: Entry) -> None:
        runner = runners.get()
        try:
            result = runner.run(entry)
        except EntryFailed as error:
            result = {"error": str(error)}
            print(f"\r\033[K{entry.name}: {error}", file=sys.stderr)
        finally:
            runners.put(runner)
        results[entry.name] = result
        if sys.stderr.isatty():
            print(f"\r\033[K{len(results)} of {len(entries)}: {entry.name}", end="\r", file=sys.stderr)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, entries))
    for _ in range(jobs):
        runners.get().command_line.close()
    print(f"\r\033[K{len(entries)} entries in {time.monotonic() - started:.0f} s", file=sys.stderr)
    runs = sorted(scratch.glob("*/*/runs/*/run.json"))
    return {entry.name: results[entry.name] for entry in entries}, environment_of(runs[0].parent) if runs else {}


def by_file(results: dict[str, Result]) -> dict[str, dict[str, Result]]:
    """Return results by the file that they are recorded in."""
    files: dict[str, dict[str, Result]] = {}
    for name, result in results.items():
        files.setdefault(name.partition("/")[0], {})[name] = result
    return files


def record(results: dict[str, Result], environment: dict[str, str]) -> bool:
    """Add results to the recorded ones of the same files; return whether any cannot be recorded."""
    if any("error" in result for result in results.values()):
        print("nothing was recorded: not all entries ended")
        return True
    order = [entry.name for entry in ENTRIES]
    for file, ours in by_file(results).items():
        golden = read_golden(file)
        merged = {name: result for name, result in golden["entries"].items() if name in order} | ours
        rest = merged.keys() - ours.keys()
        if rest and golden["environment"] != environment:
            print(f"tests/golden/{file}.json is from another machine ({golden['environment']}): record all its entries")
            return True
        write_golden(file, environment, {name: merged[name] for name in order if name in merged})
        print(f"tests/golden/{file}.json: {len(ours)} of {len(merged)} entries recorded")
    return False


def compare(entries: list[Entry], results: dict[str, Result], environment: dict[str, str], tolerance: float) -> bool:
    """Print the changed results, and return whether there are any."""
    recorded = {file: read_golden(file) for file in by_file(results)}
    for file, golden in recorded.items():
        if golden["environment"] not in ({}, environment):
            print(f"tests/golden/{file}.json was recorded with {golden['environment']}, this is {environment}")
    table = Table("entry", "moved", "most", "recorded", "now", "relative", "texts", "id", box=None, pad_edge=False)
    exact, within, moved, new = 0, 0, 0, 0
    for entry in entries:
        before = recorded[entry.name.partition("/")[0]]["entries"].get(entry.name)
        if before is None:
            new += 1
            table.add_row(entry.name, "not recorded yet", style="yellow")
            continue
        differing = differences(before, results[entry.name])
        beyond = [one for one in differing if one.relative is None or one.relative > tolerance]
        if not differing:
            exact += 1
        elif not beyond:
            within += 1
        else:
            moved += 1
        if beyond:
            table.add_row(*row(entry, beyond), style="red")
    if table.rows:
        Console(width=max(160, Console().width), highlight=False).print(table)
    counts = [
        (exact, "the same to the bit"),
        (within, f"within {tolerance:g}"),
        (moved, "moved"),
        (new, "not recorded yet"),
    ]
    print(", ".join(f"{number} {what}" for number, what in counts if number))
    return moved > 0


def row(entry: Entry, beyond: list[Difference]) -> list[str]:
    """Return an entry's row of the table: the value with the largest change represents all of them."""
    numbers = [one for one in beyond if one.relative is not None]
    texts = [one for one in beyond if one.relative is None and one.name not in ("id", "options")]
    most = max(numbers, key=lambda one: one.relative or 0, default=None) or (texts or beyond)[0]
    shown = [f"{value:.8g}" if isinstance(value, float) else str(value)[:24] for value in (most.recorded, most.now)]
    relative = "" if most.relative is None else f"{most.relative:.2g}"
    changed = ["changed" if any(one.name == "id" for one in beyond) else ""]
    return [entry.name, str(len(beyond)), most.name, *shown, relative, str(len(texts) or ""), *changed]


if __name__ == "__main__":
    main()
