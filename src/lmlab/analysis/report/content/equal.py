"""What the arms of a comparison have equally much of, in words."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.measures import equal_budgets, equal_kinds
from lmlab.analysis.report.content.wording import listed

_KINDS = {"total": "total parameters", "non_embedding": "non-embedding parameters", "matmul": "matmul parameters"}
_BUDGETS = {"tokens": "tokens", "FLOPs": "training FLOPs", "seconds": "training time"}


def at_equal(comparison: Comparison) -> str:
    """``, at equal non-embedding parameters and tokens``: what may be claimed, or nothing where there is nothing."""
    if len(comparison.arms) < 2:
        return ""
    kinds, budgets = equal_kinds(comparison), equal_budgets(comparison)
    words = ["parameters"] if len(kinds) == len(_KINDS) else [_KINDS[kind] for kind in kinds]
    words += [_BUDGETS[budget] for budget in budgets]
    return f", at equal {listed(words)}" if words else ""
