"""Configurations that keep a moving average of the weights (``callbacks=ema``)."""

from collections.abc import Mapping
from typing import Any

from lmlab.errors import UserError
from lmlab.metrics import is_averaged

CALLBACK = "lmlab.training.callbacks.EMA"


def keeps_average(callbacks: Mapping[str, Any]) -> bool:
    """Return whether a section ``callbacks`` keeps a moving average of the weights."""
    sections = (section for section in callbacks.values() if isinstance(section, Mapping))
    return any(section.get("_target_") == CALLBACK for section in sections)


def check_averaged(option: str, metric: str, callbacks: Mapping[str, Any]) -> None:
    """Refuse a metric of averaged weights if none are kept. Raises ``UserError`` that names ``option``."""
    if is_averaged(metric) and not keeps_average(callbacks):
        raise UserError(f"{option}: metrics of averaged weights need callbacks=ema")
