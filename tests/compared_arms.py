"""Arms of a comparison as training would have left them, and what is found wrong with it."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from synthetic_runs import write_run

from lmlab.analysis.comparison import Comparison, compare
from lmlab.analysis.doubts import ERRORS, examine
from lmlab.analysis.records import Record
from lmlab.cli import COMMANDS, _read
from lmlab.commands.hints import check_words
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run

RATES = (2e-3, 5e-3, 1.2e-2)
SEEDS = (1, 2, 3)
BPB, LOSS = "test/bits_per_byte", "test/loss"
VALIDATION_BPB = "validation/bits_per_byte"
DATA = {
    "name": "stdlib",
    "fingerprint": "f" * 64,
    "corpus_fingerprint": "c" * 64,
    "tokenizer_fingerprint": "t" * 64,
    "vocabulary": 2048,
    "splits": {split: {"tokens": 100_000, "bytes": 200_000, "unknown": 0} for split in ("validation", "test")},
}


def arm(folder: Path, model: str, *overrides: str, rates=RATES, seeds=SEEDS, whole=False, options=None, **fields):
    """Write the runs of one arm: every learning rate with the first seed, the middle one, which is the best, with all.

    All of them are scored on the test split.

    Args:
        whole: every learning rate with all seeds.
    """
    for rate in rates:
        best = rate == sorted(rates)[len(rates) // 2]
        for seed in seeds if whole or best else seeds[:1]:
            run = write_run(
                folder,
                "experiment=rnn_vs_transformer",
                f"model={model}",
                "optimizer=adamw",
                "budget.tokens=1_000_000",
                *overrides,
                seed=seed,
                loss=1.5 if best else 1.7,
                points=2,
                options={"optimizer.lr": rate} | (options or {}),
                **({"counted": True} | fields),
            )
            score_on(run)


def score_on(run: Run, split: str = "test", shift: float = 0.05) -> None:
    """Record an evaluation with the default settings, whose scores are worse than those of the validation."""
    context = run.config["batch"]["context"]
    settings = {"split": split, "checkpoint": "final", "streams": 8, "context": context, "stride": context // 2}
    if run.config["batch"]["documents"] == "separate":
        settings["documents"] = "separate"
    scores = {name.partition("/")[2]: value + shift for name, value in run.manifest["metrics"].items()}
    row = {"settings": settings, "metrics": {"fixed_window": scores}}
    with (run.path / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def between(folder: Path, metric: str = BPB, group: str = "model", study=None) -> Comparison:
    records = [Record.of(run) for run in all_runs(folder)]
    comparison = compare(records, metric, lambda record: record.choice(group))
    assert len(comparison.arms) == 2
    return replace(comparison, study=study)


def doubt_about(folder: Path, number: int, severity: str, *words: str, only: bool = True, **comparing):
    """The one doubt of a number, which has these words; with ``only``, there is no other of any number."""
    doubts = examine(between(folder, **comparing))
    own = [doubt for doubt in doubts if doubt.number == number]
    assert len(own) == 1, doubts
    assert own[0].severity == severity and own[0].runs
    assert own[0].name == list(ERRORS)[number - 1]
    for word in words:
        assert word in " ".join([own[0].text, *own[0].commands]), own[0]
    for doubt in doubts:
        for command in doubt.commands:
            check(command)
    if only:
        assert doubts == own
    return own[0]


def check(command: str) -> None:
    """Refuse a command that could not be typed as it is."""
    program, name, *typed = shlex.split(command)
    assert program == "lmlab" and name in COMMANDS, command
    check_words(name, _read(name, typed))


def evaluated(folder: Path, model: str, **settings):
    for run in all_runs(folder):
        if run.manifest["choices"]["model"] == model:
            base = {"split": "validation", "checkpoint": "final", "streams": 8, "context": 128, "stride": 64}
            row = {"settings": base | settings, "metrics": {"sliding_window": {"loss": 1.4, "tokens": 100_000}}}
            (run.path / "evaluations.jsonl").open("a").write(json.dumps(row) + "\n")


def sizes_of(folder: Path):
    return next(iter(all_runs(folder))).manifest["sizes"]
