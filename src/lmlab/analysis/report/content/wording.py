"""Numbers and lists as a reader meets them in a sentence."""

import math
from collections.abc import Sequence

from lmlab.numerals import written


def listed(words: Sequence[str], most: int = 8) -> str:
    """``a, b and c``; of more than ``most`` the first and how many more there are."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def decimals(scale: float) -> int:
    """Decimals that show a number as large as ``scale``: at least 3, at most 8."""
    if not math.isfinite(scale) or scale == 0:
        return 3
    return min(8, max(3, -math.floor(math.log10(abs(scale)))))


def short(value: float, decimals: int = 4) -> str:
    """``1.2345``, ``5.00e+29``."""
    return written(value, f"{{:.{decimals}f}}")


def probability(p_value: float) -> str:
    """``p = 0.032``, ``p < 0.001``."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}" if p_value < 0.1 else f"p = {p_value:.2f}"


def compact(number: float) -> str:
    """Three digits with k, M, G or T: 1,052,672 is 1.05M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(float(f"{number:.3g}")) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
