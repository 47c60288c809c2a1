"""Run a golden entry through the command line, read what it left behind, and compare that with what was recorded.

A result is a flat section: a number, a text or a list of such for each name. It is read from what every version keeps:
``run.json``, ``metrics.jsonl``, ``samples.jsonl``, ``evaluations.jsonl`` and what ``lmlab generate`` prints.
"""

import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from command_line import CommandLine
from golden_entries import SMALL, Entry, write_prose

GOLDEN = Path(__file__).parent / "golden"
Result = dict[str, Any]

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "COLUMNS": "200"}
PROMPTS = {True: ("", "the cat", "two birds saw a tree"), False: ("1", "0 1 1")}


class EntryFailed(Exception):
    """A command of an entry failed; the message is its last line."""


class Runner:
    """Runs entries in a folder, all of them with one cache of prepared text."""

    def __init__(self, command_line: CommandLine, folder: Path) -> None:
        self.command_line = command_line
        self.folder = folder
        for text, prompts in PROMPTS.items():
            lines = [json.dumps({"prompt": prompt}) for prompt in prompts]
            (folder / f"prompts_{text}.jsonl").write_text("\n".join(lines) + "\n")
        write_prose(folder / "prose.txt")
        (folder / "other.txt").write_text("every tree saw the mat.\na bird sat on two cats.\n" * 20)

    def run(self, entry: Entry) -> Result:
        """Return what is recorded of an entry. Raises ``EntryFailed``."""
        outputs = self.folder / entry.name.replace("/", "-")
        if entry.several:
            return self._sweep(outputs, entry)
        parent = None
        if entry.before:
            self._lmlab(outputs, "train", *SMALL, *entry.before)
            (parent,) = _runs(outputs)
        words = [word.replace("PARENT", parent["id"]) if parent else word for word in entry.words]
        self._lmlab(outputs, "train", *words)
        (run,) = (one for one in _runs(outputs) if parent is None or one["id"] != parent["id"])
        result = {"options": shlex.join(entry.train), **read_run(run["folder"])}
        if entry.generates:
            result |= self._generate(outputs, run["id"], entry)
        for options in entry.evaluations:
            self._lmlab(outputs, "evaluate", f"run={run['id']}", "threads=1", *options.split())
            *_, row = _rows(run["folder"] / "evaluations.jsonl")
            result |= {f"evaluate {options}: {name}": value for name, value in _flat(row["metrics"])}
        return result

    def _sweep(self, outputs: Path, entry: Entry) -> Result:
        """Return the ids and losses of all runs, the table of arms and what a report concludes."""
        printed = self._lmlab(outputs, entry.command, *entry.words)
        result: Result = {"options": shlex.join(entry.train)}
        for run in sorted(_runs(outputs), key=lambda run: str(run["id"])):
            result[f"validation/loss of {run['name']} {run['id']}"] = run["metrics"]["validation/loss"]
        arms = _arms(printed)
        result |= {f"arm {name}": numbers for name, numbers in arms.items()}
        if entry.command == "train" and arms:
            printed = self._lmlab(outputs, "report", f"baseline={next(iter(arms))}")
        lines = printed.splitlines()
        doubts = [line.split(":")[1].strip() for line in lines if line.startswith("but:")]
        # Whether the runs' code differed depends on what is edited meanwhile.
        if doubts := [doubt for doubt in doubts if doubt != "hidden differences"]:
            result["doubts"] = doubts
        if conclusions := [line for line in lines if line.startswith("On the ") and "[" in line]:
            result["conclusion"] = _numbers(conclusions[-1])
        return result

    def _generate(self, outputs: Path, run: str, entry: Entry) -> Result:
        result: Result = {}
        prompts = f"prompts=prompts_{entry.is_text}.jsonl"
        for name, options in (("greedy", ("greedy=true",)), ("sampled", ("top_p=0.9", "top_k=12"))):
            printed = self._lmlab(
                outputs, "generate", f"run={run}", prompts, "length=10", "format=jsonl", "threads=1", *options
            )
            texts = [json.loads(line) for line in printed.splitlines()]
            result[f"{name} texts"] = [text["text"] for text in texts]
            result[f"{name} log-probabilities"] = [text["mean_log_probability"] for text in texts]
        return result

    def _lmlab(self, outputs: Path, *arguments: str) -> str:
        environment = os.environ | ENVIRONMENT | {"LMLAB_OUTPUTS": str(outputs)}
        words = [*arguments, f"paths.cache={self.folder / 'cache'}"]
        done = self.command_line.run(words, self.folder, environment, self.folder)
        if done.returncode != 0:
            *_, last = done.stderr.strip().splitlines() or ["no message"]
            raise EntryFailed(f"lmlab {arguments[0]} ended with {done.returncode}: {last}")
        return done.stdout


def _runs(outputs: Path) -> list[dict[str, Any]]:
    manifests = sorted((outputs / "runs").glob("*/run.json"))
    return [json.loads(path.read_text()) | {"folder": path.parent} for path in manifests]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_run(folder: Path) -> Result:
    """Return what a run directory says of its result: id, sizes, losses of the steps, metrics and samples."""
    manifest = json.loads((folder / "run.json").read_text())
    result: Result = {"id": manifest["id"]}
    result |= {f"sizes.{name}": value for name, value in _flat(manifest["sizes"])}
    columns: dict[str, list[Any]] = {}
    for row in _rows(folder / "metrics.jsonl"):
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    for name in sorted(columns):
        # A metric of one validation is a final one.
        if (
            not name.startswith("time/")
            and name not in ("step", "tokens")
            and (name.startswith("train/") or len(columns[name]) > 1)
        ):
            result[name] = columns[name]
    result |= {f"final {name}": value for name, value in sorted(manifest["metrics"].items())}
    result["samples"] = [row["text"] for row in _rows(folder / "samples.jsonl")]
    return result


def environment_of(folder: Path) -> dict[str, str]:
    """Return what results to the bit depend on, as a run directory says it."""
    provenance = json.loads((folder / "run.json").read_text())["provenance"]
    return {
        "torch": provenance["packages"]["torch"],
        "python": provenance["python"],
        "processor": provenance["hardware"]["processor"],
    }


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", text)]


def _arms(printed: str) -> dict[str, list[float]]:
    """Return the numbers of each row of the printed table of arms."""
    lines = iter(printed.splitlines())
    if not any(line.startswith("Results by arm") for line in lines) or not any(line.startswith("──") for line in lines):
        return {}
    rows = (re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in itertools.takewhile(str.strip, lines))
    return {name: _numbers(rest) for name, rest in rows}


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


class Difference(NamedTuple):
    """A value that is not as recorded; ``None`` stands for one that is absent."""

    name: str
    recorded: Any
    now: Any

    @property
    def relative(self) -> float | None:
        """The relative difference of two numbers; ``None``: they are not two numbers."""
        if not (_is_number(self.recorded) and _is_number(self.now)):
            return None
        largest = max(abs(self.recorded), abs(self.now))
        return abs(self.recorded - self.now) / largest if largest else 0.0


def differences(recorded: Result, now: Result) -> list[Difference]:
    """Return all values of two results that differ by as little as a bit."""
    first, second = dict(_values(recorded)), dict(_values(now))
    names = [*first, *(name for name in second if name not in first)]
    pairs = (Difference(name, first.get(name), second.get(name)) for name in names)
    return [pair for pair in pairs if not _same(pair.recorded, pair.now)]


def _values(result: Result) -> Iterator[tuple[str, Any]]:
    for name, value in result.items():
        if isinstance(value, list):
            yield from ((f"{name}[{index}]", one) for index, one in enumerate(value))
        else:
            yield name, value


def _same(first: Any, second: Any) -> bool:
    return first == second or (first != first and second != second)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_golden(name: str, folder: Path = GOLDEN) -> dict[str, Any]:
    """Return what is recorded in a file: ``environment`` and ``entries``."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"environment": {}, "entries": {}}


def write_golden(name: str, environment: dict[str, str], entries: dict[str, Result], folder: Path = GOLDEN) -> None:
    """Record entries, one value or list in a line, numbers with all their digits."""
    blocks = []
    for entry, result in entries.items():
        lines = [f"   {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in result.items()]
        blocks.append(f"  {json.dumps(entry)}: {{\n" + ",\n".join(lines) + "\n  }")
    text = f'{{\n "environment": {json.dumps(environment)},\n "entries": {{\n' + ",\n".join(blocks) + "\n }\n}\n"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
