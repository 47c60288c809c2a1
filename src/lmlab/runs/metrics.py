"""Names of metrics, ``<split>/<score>``: their headings, and the direction in which they are better."""

from typing import Literal, cast

from lmlab.errors import UserError

Direction = Literal["minimize", "maximize"]

SCORES: dict[str, tuple[str, Direction]] = {
    "bits_per_byte": ("bits/byte", "minimize"),
    "loss": ("loss (nats/token)", "minimize"),
    "accuracy": ("accuracy", "maximize"),
    "perplexity": ("perplexity", "minimize"),
    "calibration_error": ("calibration error", "minimize"),
}
"""Scores of every split: heading and direction. Bits per byte only where there is text."""

METRICS = ("validation/bits_per_byte", "validation/loss", "validation/accuracy", "longer/accuracy")
"""Metrics of validations that runs are usually compared by, the preferred ones first."""

VALIDATION = "validation"
"""The split that settings are chosen on."""

TEST = "test"
"""The split that is kept for conclusions."""


_AVERAGED = "ema/"
"""Begins the names of scores of the averaged weights, which validations measure on their own split."""


def is_averaged(metric: str) -> bool:
    """Return whether a metric is a score of the averaged weights: ``ema/loss``."""
    return metric.startswith(_AVERAGED) and is_score(metric)


def split_of(metric: str) -> str:
    """``test`` of ``test/loss``; ``validation`` of ``ema/loss``."""
    return VALIDATION if is_averaged(metric) else metric.partition("/")[0]


def score_of(metric: str) -> str:
    """``loss`` of ``test/loss``."""
    return metric.partition("/")[2]


def on_split(metric: str, split: str) -> str:
    """The same score on another split; of averaged weights, on which only validations score them, of the last ones."""
    return metric if split == split_of(metric) else f"{split}/{score_of(metric)}"


def is_score(metric: str) -> bool:
    """Return whether a metric is one of ``SCORES``, on any split, rather than one that a callback logs."""
    return score_of(metric) in SCORES


def label(metric: str) -> str:
    """A heading without the split: ``bits/byte``, ``bits/byte (EMA)``."""
    if not is_score(metric):
        return score_of(metric) or metric
    return SCORES[score_of(metric)][0] + " (EMA)" * is_averaged(metric)


def heading(metric: str) -> str:
    """A heading with the split: ``test bits/byte``."""
    return f"{split_of(metric)} {label(metric)}" if "/" in metric else metric


def direction(metric: str, requested: str | None = None, option: str = "direction") -> Direction:
    """Return the direction in which a metric is better; one that a callback logs is minimized unless requested.

    Args:
        requested: the value of ``option``.

    Raises:
        UserError: ``requested`` is no direction, or not that of one of ``SCORES``.
    """
    if requested not in (None, "minimize", "maximize"):
        raise UserError(f"{option}={requested}: expected minimize or maximize")
    if not is_score(metric):
        return cast(Direction, requested or "minimize")
    own = SCORES[score_of(metric)][1]
    if requested not in (None, own):
        raise UserError(f"{option}={requested}: expected {own} for {metric}")
    return own
