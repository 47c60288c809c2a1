"""Errors 11 and 12: models that see the future, and models whose parallel and stepwise forms disagree."""

from collections.abc import Iterator
from typing import Any

from lmlab.analysis.commands import train_again
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.doubt import Finding
from lmlab.analysis.records import Record


def leakage(comparison: Comparison) -> Iterator[Finding]:
    """Find models whose predictions change with later tokens: their losses mean nothing."""
    failed = [run for run in comparison.runs if _check(run, "causal") is False]
    if failed:
        yield Finding(
            "refuse",
            f"{len(failed)} of {len(comparison.runs)} models see the future: what they predict changes with later "
            "tokens, so their losses mean nothing. Fix the mixer, then train again.",
            failed,
            train_again(comparison, failed),
        )
    yield from _unchecked(comparison, "causal", "whether their models see later tokens")


def disagreement(comparison: Comparison) -> Iterator[Finding]:
    """Find models that predict differently token by token than all at once: they do not generate as they are scored."""
    failed = [run for run in comparison.runs if _check(run, "stepwise_agrees") is False]
    if failed:
        apart = max((float(_check(run, "stepwise") or 0.0) for run in failed), default=0.0)
        yield Finding(
            "refuse",
            f"{len(failed)} of {len(comparison.runs)} models predict differently token by token than all at once "
            f"(logits differ by up to {apart:.2g}), so they do not generate as they are scored. Fix the mixer's step, "
            "then train again.",
            failed,
            train_again(comparison, failed),
        )
    yield from _unchecked(comparison, "stepwise_agrees", "whether reading token by token gives the same")


def _check(run: Record, name: str) -> Any:
    return (run.manifest.get("checks") or {}).get(name)


def _unchecked(comparison: Comparison, name: str, what: str) -> Iterator[Finding]:
    runs = [run for run in comparison.runs if _check(run, name) is None]
    if runs:
        yield Finding(
            "doubt",
            f"{len(runs)} of {len(comparison.runs)} runs have no record of {what}. Train them again with this "
            "version, which checks it before the first step.",
            runs,
            train_again(comparison, runs),
        )
