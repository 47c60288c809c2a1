"""Errors 7 and 8: unequal budgets, runs that stopped in mid-schedule, and models of different size."""

from collections.abc import Callable, Iterator, Mapping

from lmlab.analysis.commands import train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import subject
from lmlab.analysis.doubts.doubt import Finding, flawed
from lmlab.analysis.records import Record
from lmlab.config.nodes import at
from lmlab.config.overrides import written
from lmlab.runs.run import training_flops

KINDS = ("total", "non_embedding", "matmul")
"""The three senses of the number of parameters."""

SIZE_WITHIN = 0.01
"""Default tolerance of ``model.parameters``, as a share of the requested size."""

BUDGET_TOLERANCES = {"tokens": 0.01, "FLOPs": 0.05, "seconds": 0.1}
"""Tokens are rounded up to whole steps, FLOPs follow from a size that is 1 % off, seconds depend on the machine."""

Measured = Mapping[str, float | None]
"""A number for each arm; ``None`` if one of its runs did not record it."""


def planned_tokens(run: Record) -> float | None:
    """Return the tokens of the whole schedule of a run, including the runs that it continues."""
    own = _own_tokens(run)
    return None if own is None else own + (run.metric("start/tokens") or 0.0)


def _own_tokens(run: Record) -> float | None:
    steps, per_step = run.metric("training/steps"), tokens_per_step(run)
    return None if steps is None or per_step is None else steps * per_step


def tokens_per_step(run: Record) -> float | None:
    """Return the mean number of tokens of an optimizer step; ``None`` if not recorded."""
    if (recorded := run.metric("training/tokens_per_step")) is not None:
        return recorded
    size, context = at(run.config, "batch.size"), at(run.config, "batch.context")
    return None if size is None or context is None else float(size) * float(context)


def planned_flops(run: Record) -> float | None:
    """Return the operations of training on :func:`planned_tokens`."""
    tokens, each = _own_tokens(run), run.metric("sizes/flops_per_token")
    return None if tokens is None or each is None else training_flops(each, tokens) + (run.metric("start/flops") or 0.0)


BUDGETS: Mapping[str, Callable[[Record], float | None]] = {
    "tokens": planned_tokens,
    "FLOPs": planned_flops,
    "seconds": lambda run: run.metric("timings/seconds"),
}
"""Units of a budget, with the function that reads it from a run."""


def measured(comparison: Comparison, read: Callable[[Record], float | None]) -> dict[str, float | None]:
    """Return the mean over the chosen runs of each arm; ``None`` if one of them has no value."""
    means: dict[str, float | None] = {}
    for arm in comparison.arms:
        values = [value for value in map(read, arm.runs) if value is not None]
        means[arm.name] = sum(values) / len(values) if len(values) == len(arm.runs) else None
    return means


def parameters(comparison: Comparison) -> dict[str, dict[str, float | None]]:
    """Return the number of parameters of each arm, by kind."""
    return {kind: measured(comparison, _parameters_of(kind)) for kind in KINDS}


def _parameters_of(kind: str) -> Callable[[Record], float | None]:
    return lambda run: run.metric(f"sizes/parameters/{kind}")


def spread(values: Measured) -> float | None:
    """Return how much larger the largest value is than the smallest, as a share of it; ``None`` if one is unknown."""
    present = [value for value in values.values() if value is not None]
    if len(present) < len(values) or not present:
        return None
    least, most = min(present), max(present)
    if least == most:
        return 0.0
    return most / least - 1 if least > 0 else float("inf")


def close(values: Measured, tolerance: float) -> bool:
    """Return whether all values are known and equal within ``tolerance``."""
    apart = spread(values)
    return apart is not None and apart <= tolerance


def equal_budgets(comparison: Comparison) -> list[str]:
    """Return the budgets of ``BUDGETS`` that the arms share."""
    return [name for name, read in BUDGETS.items() if close(measured(comparison, read), BUDGET_TOLERANCES[name])]


def size_tolerance(comparison: Comparison, kind: str) -> float:
    """Return how far apart the sizes of two arms may be to count as equal, as a share of the smaller one.

    Each may miss the requested size by 1 %, or by ``model.parameters_within`` where all arms request the same number of
    that kind of parameters.
    """
    models = [run.config.get("model") or {} for run in comparison.runs]
    declared = {(model.get("parameters"), model.get("parameters_of")) for model in models}
    within = SIZE_WITHIN
    if len(declared) == 1 and (request := declared.pop())[0] is not None and request[1] == kind:
        within = max(model.get("parameters_within") or SIZE_WITHIN for model in models)
    return (1 + within) / (1 - within) - 1 + 1e-9


def equal_kinds(comparison: Comparison) -> list[str]:
    """Return the kinds of parameters that all arms have in equal number."""
    return [kind for kind, sizes in parameters(comparison).items() if close(sizes, size_tolerance(comparison, kind))]


def number(value: float | None) -> str:
    """Return a count as text: 1,053,824; 1.2e+15."""
    return "unknown" if value is None else f"{value:,.0f}" if value < 1e9 else f"{value:.3g}"


def numbers(values: Measured) -> str:
    """Return counts by arm as text."""
    return ", ".join(f"{arm} {number(value)}" for arm, value in values.items())


FLOPS_APART = 0.25
"""Arms of equal size and tokens are doubted if their FLOPs per token are further apart than this.

Attention at usual contexts adds less than this to the cost of the parameters.
"""


def unequal_size(comparison: Comparison) -> Iterator[Finding]:
    """Find arms equal neither in any count of parameters nor in FLOPs, and equal ones that differ much in computation.

    Every text names the kinds that are equal and those that are not.
    """
    sizes = parameters(comparison)
    per_token = measured(comparison, lambda run: run.metric("sizes/flops_per_token"))
    unsized = [run for run in comparison.runs if any(run.metric(f"sizes/parameters/{kind}") is None for kind in KINDS)]
    text = "runs do not say how many parameters they have. Train them again."
    yield from flawed(comparison, "doubt", unsized, text)
    if unsized:
        return
    equal = equal_kinds(comparison)
    budgets = equal_budgets(comparison)
    state = measured(comparison, lambda run: run.metric("sizes/state_bytes_per_sequence"))
    differing = [f"{kind} {numbers(counts)}" for kind, counts in sizes.items() if kind not in equal]
    said = f"parameters equal: {', '.join(equal) or 'of no kind'}; different: {'; '.join(differing) or 'none'}"
    said += f"; FLOPs per token: {numbers(per_token)}; state bytes per sequence: {numbers(state)}"
    if not equal and "FLOPs" not in budgets:
        size = number(min(value for value in sizes["total"].values() if value is not None)).replace(",", "_")
        yield Finding(
            "doubt",
            f"The arms are not of one size ({said}), so the larger one may win by its size. Train all arms with "
            f"model.parameters={size}.",
            comparison.runs,
            train_with(comparison, comparison.runs, f"model.parameters={size}", without=["model.width"]),
        )
    elif "tokens" in budgets and "FLOPs" not in budgets and not close(per_token, FLOPS_APART):
        apart = spread(per_token)
        more = "an unknown share" if apart is None else f"{apart:.0%}"
        yield Finding(
            "doubt",
            f"The arms train on equally many tokens, but one computes {more} more for each ({said}). Compare at equal "
            "FLOPs too: choose budget.tokens in inverse proportion.",
            comparison.runs,
        )


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
    yield from flawed(
        comparison,
        "doubt",
        unknown,
        "runs do not say at which of their steps they ended, so they may have stopped in mid-schedule. Train them "
        "again.",
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
        tokens, per_step = run.metric("timings/tokens"), tokens_per_step(run)
        stopped_at = None if tokens is None or not per_step else round(tokens / per_step)
    return None if stopped_at is None else stopped_at / steps


def _most_tokens(comparison: Comparison) -> str:
    """Return the largest ``budget.tokens`` of any run, as it would be typed."""
    return written(max((at(run.config, "budget.tokens") or 0 for run in comparison.runs), default=0))


def _constant(run: Record) -> bool:
    """Return whether a run's learning rate does not depend on the length of training."""
    return str(at(run.config, "scheduler._target_")).endswith((".Constant", ".Plateau"))
