"""Options of reading a text while it is scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.data.windows import READINGS
from lmlab.errors import UserError, nearest


@dataclass(frozen=True)
class Reading:
    """How a text is read while it is scored (see :func:`lmlab.data.windows.read`).

    Args:
        context: tokens in a window, and tokens that attention sees at most.
        stride: tokens by which a sliding window moves.
        streams: parts of a text that are read with carried state.
        batch_size: windows or streams in a batch.
    """

    context: int
    stride: int
    streams: int
    batch_size: int

    def check(self, metrics: Sequence[str], max_positions: int | None) -> None:
        """Refuse settings that no evaluation can have. Raises ``UserError``."""
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
