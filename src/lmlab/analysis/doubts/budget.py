"""Error 7: runs that stopped in mid-schedule, and arms with unequal amounts of training."""

from collections.abc import Iterator

from lmlab.analysis.commands import train_again, train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import subject
from lmlab.analysis.doubts.doubt import Finding
from lmlab.analysis.doubts.size import BUDGETS, equal_budgets, measured, number, numbers, spread
from lmlab.analysis.records import Record
from lmlab.config.overrides import written

FAR = 0.25
"""Arms further apart than this in tokens, FLOPs and seconds alike are refused; nearer ones are doubted."""


def unequal_budget(comparison: Comparison) -> Iterator[Finding]:
    """Find runs that ended before the end of their schedule, and arms that share no budget.

    Equal tokens, equal FLOPs and equal seconds are all fair, each in its own sense.
    """
    early = [run for run in comparison.runs if (done := share_done(run)) is not None and done < 1]
    if early:
        scheduled = [run for run in early if not _constant(run)]
        least = min(early, key=lambda run: share_done(run) or 0.0)
        words = f"{len(early)} of {len(comparison.runs)} runs ended before their last step, {least.label} after "
        words += f"{share_done(least) or 0.0:.0%} of {number(least.metric('training/steps'))} steps"
        why = (
            ", while the learning rate was still decaying, so they do not show what this budget gives. "
            if scheduled
            else "; their learning rate does not depend on the budget, so this is just a smaller budget. "
        )
        cure = "Train them without early stopping (callbacks=default)."
        commands = train_with(comparison, early, "callbacks=default")
        yield Finding(
            "refuse" if scheduled else "doubt",
            words + why + cure,
            early,
            commands,
        )
    unknown = [run for run in comparison.runs if share_done(run) is None]
    if unknown:
        yield Finding(
            "doubt",
            f"{len(unknown)} of {len(comparison.runs)} runs do not say at which of their steps they ended, so they may "
            "have stopped in mid-schedule. Train them again.",
            unknown,
            train_again(comparison, unknown),
        )
    if not equal_budgets(comparison) and "budget" not in subject(comparison):
        budgets = {name: measured(comparison, read) for name, read in BUDGETS.items()}
        near = any((apart := spread(values)) is not None and apart <= FAR for values in budgets.values())
        words = "; ".join(f"{name} of training: {numbers(values)}" for name, values in budgets.items())
        yield Finding(
            "doubt" if near else "refuse",
            f"The arms have no budget in common ({words}), so the one that trained more may win by that alone. Train "
            "all arms with one budget.tokens, or with tokens that give equal FLOPs.",
            comparison.runs,
            train_with(comparison, comparison.runs, f"budget.tokens={_most_tokens(comparison)}"),
        )


def share_done(run: Record) -> float | None:
    """Return the share of its schedule that a finished run completed; ``None`` if not recorded."""
    steps, stopped_at = run.metric("training/steps"), run.metric("training/stopped_at")
    if not steps:
        return None
    if stopped_at is None:
        tokens, batch = run.metric("timings/tokens"), run.config.get("batch", {})
        per_step = float(batch.get("size", 0)) * float(batch.get("context", 0))
        stopped_at = None if tokens is None or not per_step else round(tokens / per_step)
    return None if stopped_at is None else stopped_at / steps


def _most_tokens(comparison: Comparison) -> str:
    """Return the largest ``budget.tokens`` of any run, as it would be typed."""
    return written(max((run.config.get("budget", {}).get("tokens", 0) for run in comparison.runs), default=0))


def _constant(run: Record) -> bool:
    """Return whether a run's learning rate does not depend on the length of training."""
    return str((run.config.get("scheduler") or {}).get("_target_")).endswith((".Constant", ".Plateau"))
