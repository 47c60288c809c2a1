"""Options for reading a text in order to score it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.data.windows import READINGS
from lmlab.errors import UserError, nearest


@dataclass(frozen=True)
class Reading:
    """Options for reading a text in order to score it (see :func:`lmlab.data.windows.read`).

    Args:
        context: tokens in a window, and limit of tokens that attention sees.
        stride: tokens by which a sliding window moves.
        streams: parts of a text that are read with carried state.
        batch_size: windows or streams in a batch.
    """

    context: int
    stride: int
    streams: int
    batch_size: int

    def check(self, metrics: Sequence[str], max_positions: int | None) -> None:
        """Refuse invalid settings. Raises ``UserError``."""
        if not metrics:
            raise UserError("metrics=[]: expected at least one, for example metrics=[fixed_window]")
        for metric in metrics:
            if metric not in READINGS:
                raise UserError(f"metrics={metric}: unknown{nearest(metric, READINGS)}")
        for option in ("context", "streams", "batch_size"):
            if (value := getattr(self, option)) < 1:
                raise UserError(f"{option}={value}: expected at least 1")
        if not 1 <= self.stride <= self.context:
            raise UserError(f"stride={self.stride}: expected 1 to the context of {self.context}")
        if max_positions is not None and self.context > max_positions:
            raise UserError(f"context={self.context}: the positions of this model end at {max_positions}")
