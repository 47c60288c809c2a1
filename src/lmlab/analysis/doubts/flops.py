"""Error 10: FLOPs that do not match the model, or exceed what the device can do."""

from collections.abc import Iterator

from lmlab.analysis.commands import train_again
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.doubt import Finding, Severity
from lmlab.analysis.doubts.rebuilt import names_own_code, recounted_flops
from lmlab.analysis.doubts.size import equal_budgets, number
from lmlab.analysis.records import Record
from lmlab.runs.run import training_flops

TOLERANCE = 0.01
"""Allowed relative error of a recorded count against that of the saved configuration."""


def wrong_flops(comparison: Comparison) -> Iterator[Finding]:
    """Find recorded counts that contradict the saved configuration, absent counts, and utilisation above 100 %.

    It is a refusal where the comparison relies on FLOPs: the arms share neither tokens nor seconds.
    """
    severity: Severity = "refuse" if equal_budgets(comparison) == ["FLOPs"] else "doubt"
    for arm in comparison.arms:
        runs = arm.chosen.runs
        recorded = [run.metric("sizes/flops_per_token") for run in runs]
        if any(value is None for value in recorded):
            without = [run for run, value in zip(runs, recorded, strict=True) if value is None]
            yield Finding(
                severity,
                f"{len(without)} of {len(runs)} runs of {arm.name} do not say how many FLOPs a token takes. Train them "
                "again.",
                without,
                train_again(comparison, without),
            )
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
            yield Finding(
                severity,
                f"{len(wrong)} of {len(runs)} runs of {arm.name} recorded "
                f"{number(wrong[0].metric('sizes/flops_per_token'))} FLOPs per token, but their saved configuration "
                f"takes {number(counted)}: comparisons by FLOPs are wrong. Train them again with this version.",
                wrong,
                train_again(comparison, wrong),
            )
        total = [run for run in runs if not _adds_up(run)]
        if total:
            yield Finding(
                severity,
                f"{len(total)} of {len(runs)} runs of {arm.name} recorded "
                f"{number(total[0].metric('timings/flops'))} FLOPs of training, which is not three times those of a "
                "forward pass for each token that they trained on. Train them again with this version.",
                total,
                train_again(comparison, total),
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
