"""Errors 10 to 12: wrong FLOPs, models that see the future, and forms of a model that disagree."""

from collections.abc import Iterator
from typing import Any

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.doubt import Finding, Severity, flawed
from lmlab.analysis.doubts.rebuilt import names_own_code, recounted_flops
from lmlab.analysis.doubts.size import equal_budgets, number
from lmlab.analysis.records import Record
from lmlab.config.nodes import at
from lmlab.runs.run import training_flops


def leakage(comparison: Comparison) -> Iterator[Finding]:
    """Find models whose predictions change with later tokens: their losses mean nothing."""
    failed = [run for run in comparison.runs if _check(run, "causal") is False]
    yield from flawed(
        comparison,
        "refuse",
        failed,
        "models see the future: what they predict changes with later tokens, so their losses mean nothing. Fix the "
        "mixer, then train again.",
    )
    yield from _unchecked(comparison, "causal", "whether their models see later tokens")


def disagreement(comparison: Comparison) -> Iterator[Finding]:
    """Find models that predict differently token by token than all at once: they do not generate as they are scored."""
    failed = [run for run in comparison.runs if _check(run, "stepwise_agrees") is False]
    apart = max((float(_check(run, "stepwise") or 0.0) for run in failed), default=0.0)
    yield from flawed(
        comparison,
        "refuse",
        failed,
        f"models predict differently token by token than all at once (logits differ by up to {apart:.2g}), so they do "
        "not generate as they are scored. Fix the mixer's step, then train again.",
    )
    yield from _unchecked(comparison, "stepwise_agrees", "whether reading token by token gives the same")


def _check(run: Record, name: str) -> Any:
    return at(run.manifest, f"checks.{name}")


def _unchecked(comparison: Comparison, name: str, what: str) -> Iterator[Finding]:
    runs = [run for run in comparison.runs if _check(run, name) is None]
    yield from flawed(
        comparison,
        "doubt",
        runs,
        f"runs have no record of {what}. Train them again with this version, which checks it before the first step.",
    )


TOLERANCE = 0.01
"""Allowed relative error of a recorded count against that of the saved configuration."""


def wrong_flops(comparison: Comparison) -> Iterator[Finding]:
    """Find recorded counts that contradict the saved configuration, absent counts, and utilisation above 100 %.

    It is a refusal where the comparison relies on FLOPs: the arms share neither tokens nor seconds.
    """
    severity: Severity = "refuse" if equal_budgets(comparison) == ["FLOPs"] else "doubt"
    for arm in comparison.arms:
        runs = arm.runs
        recorded = [run.metric("sizes/flops_per_token") for run in runs]
        without = [run for run, value in zip(runs, recorded, strict=True) if value is None]
        if without:
            text = f"runs of {arm.name} do not say how many FLOPs a token takes. Train them again."
            yield from flawed(comparison, severity, without, text, among=runs)
            continue
        counted = recounted_flops(runs[0])
        if counted is None:
            why = (
                "its saved configuration names a user's own modules, which a report does not run"
                if names_own_code(runs[0], "model")
                else "its saved configuration cannot be built here (install the packages that it names)"
            )
            yield Finding(
                severity,
                f"The FLOPs of {arm.name} ({number(recorded[0])} per token) could not be counted again: {why}.",
                runs,
            )
            continue
        wrong = [run for run, value in zip(runs, recorded, strict=True) if not _near(value, counted)]
        if wrong:
            yield from flawed(
                comparison,
                severity,
                wrong,
                f"runs of {arm.name} recorded {number(wrong[0].metric('sizes/flops_per_token'))} FLOPs per token, but "
                f"their saved configuration takes {number(counted)}: comparisons by FLOPs are wrong. Train them again "
                "with this version.",
                among=runs,
            )
        total = [run for run in runs if not _adds_up(run)]
        if total:
            flops = number(total[0].metric("timings/flops"))
            yield from flawed(
                comparison,
                severity,
                total,
                f"runs of {arm.name} recorded {flops} FLOPs of training, which is not three times those of a forward "
                "pass for each token that they trained on. Train them again with this version.",
                among=runs,
            )
    fast = [run for run in comparison.runs if (run.metric("timings/utilisation") or 0.0) > 1]
    if fast:
        most = max(run.metric("timings/utilisation") or 0.0 for run in fast)
        peak = fast[0].metric("timings/peak_flops")
        yield Finding(
            severity,
            f"{len(fast)} runs recorded a utilisation of {most:.0%}, which is impossible: the FLOPs or the peak "
            f"({number(peak)} FLOP/s) are wrong. Compare by tokens or seconds, not by FLOPs, until the peak is right.",
            fast,
        )


def _near(value: float | None, expected: float) -> bool:
    return value is not None and abs(value - expected) <= TOLERANCE * expected


def _adds_up(run: Record) -> bool:
    """Return whether the FLOPs of training match the run's tokens; True if they are not recorded."""
    flops, tokens, each = (run.metric(name) for name in ("timings/flops", "timings/tokens", "sizes/flops_per_token"))
    return flops is None or tokens is None or each is None or _near(flops, training_flops(each, tokens))
