"""What the arms of a comparison have in common, in words."""

from collections.abc import Callable
from typing import Any

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import all_equal, by_arm, chosen_value, short, tried
from lmlab.analysis.doubts.data import corpus_of, data_of, scored_tokens
from lmlab.analysis.doubts.hidden import device_of
from lmlab.analysis.doubts.measures import (
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

OPTIONS = {
    "optimizer": "optimizer._target_",
    "schedule": "scheduler._target_",
    "objective": "objective._target_",
    "precision": "trainer.precision",
}
"""Parts of the configuration that are named where all arms have the same."""


def held_equal(comparison: Comparison) -> dict[str, str]:
    """Return what all arms have in common, with its value: data, tokens, FLOPs, parameters by kind, seeds, code...

    What is not equal has no entry. Counts are equal within the tolerances of ``measures``; a range says how equal.
    """
    if not comparison.runs:
        return {}
    found = {
        "data": _same(comparison, _data),
        "tokenizer": _same(comparison, _tokenizer),
        "scored": _same(comparison, lambda run: scored_tokens(run, "validation")),
        "context": _same(comparison, lambda run: run.config.get("batch", {}).get("context")),
        "batch size": _same(comparison, lambda run: run.config.get("batch", {}).get("size")),
    }
    found = {
        name: f"{value} tokens" if name in ("scored", "context") and value else value for name, value in found.items()
    }
    for name, read in BUDGETS.items():
        found[f"{name} of training"] = _about(measured(comparison, read), BUDGET_TOLERANCES[name])
    for kind, sizes in parameters(comparison).items():
        found[f"parameters ({kind})"] = _about(sizes, size_tolerance(comparison, kind))
    found["FLOPs per token"] = _about(
        measured(comparison, lambda run: run.metric("sizes/flops_per_token")), BUDGET_TOLERANCES["FLOPs"]
    )
    found["state bytes per sequence"] = _about(
        measured(comparison, lambda run: run.metric("sizes/state_bytes_per_sequence")), 0.0
    )
    for name, option in OPTIONS.items():
        values = [chosen_value(arm, option) for arm in comparison.arms]
        if all_equal(values) and values[0] is not None:
            found[name] = str(values[0]).rpartition(".")[2]
    trials = {len(tried(comparison, arm)) for arm in comparison.arms}
    if len(trials) == 1:
        number_of_trials = trials.pop()
        found["trials"] = f"{number_of_trials} setting{'s' * (number_of_trials > 1)} of each arm"
    seeds = [sorted(arm.chosen.scores(comparison.metric)) for arm in comparison.arms]
    if all_equal(seeds):
        found["seeds"] = ", ".join(map(str, seeds[0]))
    found["code"] = _same(comparison, lambda run: (run.manifest.get("provenance") or {}).get("code"))
    found["device"] = _same(comparison, device_of)
    return {name: value for name, value in found.items() if value}


def _same(comparison: Comparison, read: Callable[[Record], Any]) -> str | None:
    values = [value for found in by_arm(comparison, read).values() for value in found]
    return short(values[0]) if all_equal(values) and values[0] not in (None, "unknown") else None


def _about(values: Measured, tolerance: float) -> str | None:
    """One number, or the range of those that are equal within the tolerance."""
    if not close(values, tolerance):
        return None
    known = [value for value in values.values() if value is not None]
    low, high = number(min(known)), number(max(known))
    return low if low == high else f"{low} to {high} (within {max(known) / min(known) - 1:.1%})"


def _data(run: Record) -> str | None:
    corpus = corpus_of(run)
    return None if corpus is None else f"{data_of(run, 'name')} (fingerprint {short(str(corpus))})"


def _tokenizer(run: Record) -> str | None:
    tokenizer, vocabulary = data_of(run, "tokenizer_fingerprint"), data_of(run, "vocabulary")
    name = str((run.config.get("tokenizer") or {}).get("_target_")).rpartition(".")[2]
    mark = f", fingerprint {short(str(tokenizer))}" if tokenizer else ""
    return None if vocabulary is None else f"{name}, {short(vocabulary)} types{mark}"
