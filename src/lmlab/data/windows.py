"""The windows of an evaluation: each token is scored exactly once, with any batch size.

Every function reads a stream of ids [1 + N] whose first is context only, and scores the other N.
Dimension legend: B rows, T positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from lmlab.data.batch import Batch
from lmlab.data.dataset import NOT_SCORED
from lmlab.errors import UserError, nearest

READINGS = ("fixed_window", "sliding_window", "stateful")
"""Ways to read a stream, by the functions below."""


def read(tokens: np.ndarray, reading: str, context: int, stride: int, streams: int, batch_size: int) -> Iterator[Batch]:
    """Yield a stream in one of :data:`READINGS`. Their metrics differ and are not comparable.

    - ``fixed_window``: disjoint windows of ``context`` tokens, each from an empty state, as in training;
    - ``sliding_window``: windows that move by ``stride``, so that every token but the first few has at least
      ``context - stride`` tokens before it;
    - ``stateful``: the stream in ``streams`` consecutive parts, with state carried from chunk to chunk.
    """
    if reading == "fixed_window":
        return fixed_windows(tokens, context, batch_size)
    if reading == "sliding_window":
        return sliding_windows(tokens, context, stride, batch_size)
    return parts(tokens, streams, context, batch_size)


def fixed_windows(
    tokens: np.ndarray, context: int, batch_size: int, numbers: Sequence[int] | np.ndarray | None = None
) -> Iterator[Batch]:
    """Yield disjoint windows of ``context`` tokens, each read from an empty state; the last may be shorter.

    Args:
        numbers: numbers of the windows to read, counted from 0; ``None``: all.
    """
    if numbers is None:
        return sliding_windows(tokens, context, context, batch_size)
    starts = [int(number) * context for number in numbers]
    rows = [(start, start, min(start + context, len(tokens) - 1)) for start in starts]
    return (_batch(tokens, rows[first : first + batch_size]) for first in range(0, len(rows), batch_size))


def evenly_spaced(part: int, whole: int) -> np.ndarray:
    """Return [min(part, whole)], increasing numbers from 0 to ``whole`` - 1, equally far apart to one."""
    part = min(part, whole)
    return (2 * np.arange(part) + 1) * whole // (2 * max(part, 1))


def sliding_windows(tokens: np.ndarray, context: int, stride: int, batch_size: int) -> Iterator[Batch]:
    """Yield windows of ``context`` tokens that move by ``stride``, each read from an empty state.

    The first window is scored whole, in every other one the last ``stride`` tokens: these have at least
    ``context - stride`` tokens before them.

    Raises:
        UserError: ``stride`` is not in [1, context], or another argument is below 1.
    """
    _check(context=context, batch_size=batch_size)
    if not 1 <= stride <= context:
        raise UserError(f"stride={stride}: expected a whole number from 1 to the context, {context}")
    starts = range(0, max(1, len(tokens) - 1 - context + stride), stride)
    for first in range(0, len(starts), batch_size):
        rows = [
            (start, start if start == 0 else start + context - stride, min(start + context, len(tokens) - 1))
            for start in starts[first : first + batch_size]
        ]
        yield _batch(tokens, rows)


def parts(tokens: np.ndarray, streams: int, context: int, batch_size: int) -> Iterator[Batch]:
    """Yield the stream in ``streams`` consecutive parts of equal length (to one token), each read with carried state.

    A part is read ``context`` tokens at a time. Parts come ``batch_size`` at a time, from their beginning to their
    end; their number, and so the context of each token, does not depend on the batch size.

    Raises:
        UserError: an argument is below 1.
    """
    _check(streams=streams, context=context, batch_size=batch_size)
    length = len(tokens) - 1
    streams = min(streams, length)
    bounds = [length * part // streams for part in range(streams + 1)]
    spans = list(pairwise(bounds))
    for first in range(0, streams, batch_size):
        group = spans[first : first + batch_size]
        for offset in range(0, max(end - start for start, end in group), context):
            rows = [(start + offset, start + offset, min(start + offset + context, end)) for start, end in group]
            yield _batch(tokens, rows, continues=offset > 0)


def _check(**options: int) -> None:
    for option, value in options.items():
        if value < 1:
            raise UserError(f"{option}={value}: expected a whole number of at least 1")


def _batch(tokens: np.ndarray, rows: list[tuple[int, int, int]], continues: bool = False) -> Batch:
    """Make a batch of rows, each given by its first input, its first scored input and the end of its inputs.

    Rows are padded on the right with id 0.
    """
    width = max(end - start for start, _, end in rows)
    inputs = np.zeros((len(rows), width), np.int64)
    targets = np.full((len(rows), width), NOT_SCORED, np.int64)
    for row, (start, scored, end) in enumerate(rows):
        inputs[row, : end - start] = tokens[start:end]
        targets[row, scored - start : end - start] = tokens[scored + 1 : end + 1]
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), fresh=not continues)


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
