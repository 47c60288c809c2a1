"""Error 8: models of different size, and "parameters" without saying which."""

from collections.abc import Iterator

from lmlab.analysis.commands import train_again, train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.doubt import Finding
from lmlab.analysis.doubts.measures import (
    KINDS,
    close,
    equal_budgets,
    equal_kinds,
    measured,
    number,
    numbers,
    parameters,
    spread,
)

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
    if unsized:
        yield Finding(
            "doubt",
            f"{len(unsized)} of {len(comparison.runs)} runs do not say how many parameters they have. Train them "
            "again.",
            unsized,
            train_again(comparison, unsized),
        )
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
