"""Properties that all arms of a comparison share, as text."""

from collections.abc import Callable
from typing import Any

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import all_equal, by_arm, short, tried, value_of_arm
from lmlab.analysis.doubts.data import corpus_of, scored_tokens
from lmlab.analysis.doubts.hidden import device_of
from lmlab.analysis.doubts.size import (
    BUDGET_TOLERANCES,
    BUDGETS,
    Measured,
    close,
    measured,
    number,
    parameters,
    size_tolerance,
)
from lmlab.analysis.records import Record
from lmlab.config.nodes import at

OPTIONS = {
    "optimizer": "optimizer._target_",
    "schedule": "scheduler._target_",
    "objective": "objective._target_",
    "precision": "trainer.precision",
}
"""Parts of the configuration that are listed if all arms share them."""


def held_equal(comparison: Comparison) -> dict[str, str]:
    """Return the properties that all arms share, with their values: data, tokens, FLOPs, parameters, seeds, code...

    Properties that differ are left out. Counts are equal within the tolerances of ``measures``; a range shows how far.
    """
    if not comparison.runs:
        return {}
    shared = {
        "data": _same(comparison, _data),
        "tokenizer": _same(comparison, _tokenizer),
        "scored": _same(comparison, lambda run: scored_tokens(run, "validation")),
        "context": _same(comparison, lambda run: at(run.config, "batch.context")),
        "batch size": _same(comparison, lambda run: at(run.config, "batch.size")),
    }
    shared = {
        name: f"{value} tokens" if name in ("scored", "context") and value else value for name, value in shared.items()
    }
    for name, read in BUDGETS.items():
        shared[f"{name} of training"] = _about(measured(comparison, read), BUDGET_TOLERANCES[name])
    for kind, sizes in parameters(comparison).items():
        shared[f"parameters ({kind})"] = _about(sizes, size_tolerance(comparison, kind))
    shared["FLOPs per token"] = _about(
        measured(comparison, lambda run: run.metric("sizes/flops_per_token")), BUDGET_TOLERANCES["FLOPs"]
    )
    shared["state bytes per sequence"] = _about(
        measured(comparison, lambda run: run.metric("sizes/state_bytes_per_sequence")), 0.0
    )
    for name, option in OPTIONS.items():
        values = [value_of_arm(arm, option) for arm in comparison.arms]
        if all_equal(values) and values[0] is not None:
            shared[name] = str(values[0]).rpartition(".")[2]
    trials = {len(tried(comparison, arm)) for arm in comparison.arms}
    if len(trials) == 1:
        number_of_trials = trials.pop()
        shared["trials"] = f"{number_of_trials} setting{'s' * (number_of_trials > 1)} of each arm"
    seeds = [sorted(arm.scores(comparison.metric)) for arm in comparison.arms]
    if all_equal(seeds):
        shared["seeds"] = ", ".join(map(str, seeds[0]))
    shared["code"] = _same(comparison, lambda run: at(run.manifest, "provenance.code"))
    shared["device"] = _same(comparison, device_of)
    return {name: value for name, value in shared.items() if value}


def _same(comparison: Comparison, read: Callable[[Record], Any]) -> str | None:
    values = [value for of_arm in by_arm(comparison, read).values() for value in of_arm]
    return short(values[0]) if all_equal(values) and values[0] not in (None, "unknown") else None


def _about(values: Measured, tolerance: float) -> str | None:
    """Return one number, or the range of numbers that are equal within the tolerance; ``None`` if they are not."""
    if not close(values, tolerance):
        return None
    counts = [value for value in values.values() if value is not None]
    low, high = number(min(counts)), number(max(counts))
    return low if low == high else f"{low} to {high} (within {max(counts) / min(counts) - 1:.1%})"


def _data(run: Record) -> str | None:
    corpus = corpus_of(run)
    return None if corpus is None else f"{at(run.manifest, 'data.name')} (fingerprint {short(str(corpus))})"


def _tokenizer(run: Record) -> str | None:
    tokenizer, vocabulary = at(run.manifest, "data.tokenizer_fingerprint"), at(run.manifest, "data.vocabulary")
    name = str(at(run.config, "tokenizer._target_")).rpartition(".")[2]
    mark = f", fingerprint {short(str(tokenizer))}" if tokenizer else ""
    return None if vocabulary is None else f"{name}, {short(vocabulary)} types{mark}"
