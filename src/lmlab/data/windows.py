"""The windows of an evaluation: each token is scored exactly once, with any batch size.

Every function reads a stream of ids [1 + N] whose first is context only, and scores the other N.
Dimension legend: B rows, T positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lmlab.data.batch import Batch
from lmlab.data.dataset import NOT_SCORED
from lmlab.errors import UserError, nearest

READINGS = ("fixed_window", "sliding_window", "stateful")
"""Ways to read a stream, by the functions below."""


def read(
    tokens: np.ndarray,
    reading: str,
    context: int,
    stride: int,
    streams: int,
    batch_size: int,
    starts: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Yield a stream in one of :data:`READINGS`. Their metrics differ and are not comparable.

    - ``fixed_window``: disjoint windows of ``context`` tokens, each from an empty state, as in training;
    - ``sliding_window``: windows that move by ``stride``, so that every token but the first few has at least
      ``context - stride`` tokens before it;
    - ``stateful``: the stream in ``streams`` consecutive parts, or each of its documents, with state carried from chunk
      to chunk.

    Args:
        starts: [D] places of the separators that begin a document, which is then read by itself; ``None``: documents
            are read as one stream.
    """
    if reading == "fixed_window":
        return sliding_windows(tokens, context, context, batch_size, starts)
    if reading == "sliding_window":
        return sliding_windows(tokens, context, stride, batch_size, starts)
    return parts(tokens, streams, context, batch_size, starts)


class Windows:
    """The windows of ``context`` tokens that move by ``stride`` through a stream, or through each of its documents.

    The first window of a document is scored whole, in every other one the last ``stride`` tokens.

    Args:
        starts: [D] places of the separators that begin a document; ``None``: documents are one stream.

    Raises:
        UserError: ``stride`` is not in [1, context], or ``context`` is below 1.
    """

    def __init__(self, tokens: np.ndarray, context: int, stride: int, starts: np.ndarray | None = None) -> None:
        _check(context=context)
        if not 1 <= stride <= context:
            raise UserError(f"stride={stride}: expected a whole number from 1 to the context, {context}")
        self.tokens = tokens
        self.context = context
        self.stride = stride
        self.begins_D, self.ends_D = spans(len(tokens) - 1, starts)
        numbers_D = -(-np.maximum(1, self.ends_D - self.begins_D - context + stride) // stride)
        self._bounds = np.append(0, numbers_D.cumsum())

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def rows(self, numbers_R: np.ndarray) -> np.ndarray:
        """Return [R, 3]: first input, first scored input and end of the inputs of windows, counted from 0."""
        documents_R = np.searchsorted(self._bounds, numbers_R, side="right") - 1
        places_R = numbers_R - self._bounds[documents_R]
        begins_R = self.begins_D[documents_R] + places_R * self.stride
        scored_R = begins_R + np.where(places_R > 0, self.context - self.stride, 0)
        return np.stack([begins_R, scored_R, np.minimum(begins_R + self.context, self.ends_D[documents_R])], 1)

    def lengths(self) -> np.ndarray:
        """Return the number of tokens that each window reads."""
        begins_W, _, ends_W = self.rows(np.arange(len(self))).T
        return ends_W - begins_W

    def batch(self, numbers_R: np.ndarray) -> Batch:
        """Return windows as a batch, padded on the right."""
        return _batch(self.tokens, self.rows(numbers_R))


def spans(length: int, starts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the first input [D] and the end of the inputs [D] of each document of a stream with ``length`` inputs.

    Args:
        starts: [D] places of the separators that begin a document; ``None``: documents are one stream.
    """
    begins_D = np.zeros(1, np.int64) if starts is None else np.asarray(starts[: np.searchsorted(starts, length)])
    return begins_D, np.append(begins_D[1:], length)


def fixed_windows(
    tokens: np.ndarray,
    context: int,
    batch_size: int,
    numbers: Sequence[int] | np.ndarray | None = None,
    starts: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Yield disjoint windows of ``context`` tokens, each read from an empty state; the last may be shorter.

    Args:
        numbers: numbers of the windows to read, counted from 0; ``None``: all.
        starts: [D] places of the separators that begin a document, each with windows of its own; ``None``: documents
            are one stream.

    Raises:
        UserError: an argument is below 1.
    """
    _check(batch_size=batch_size)
    windows = Windows(tokens, context, context, starts)
    numbers = np.arange(len(windows)) if numbers is None else np.asarray(numbers)
    return (windows.batch(numbers[first : first + batch_size]) for first in range(0, len(numbers), batch_size))


def evenly_spaced(part: int, whole: int) -> np.ndarray:
    """Return [min(part, whole)], increasing numbers from 0 to ``whole`` - 1, equally far apart to one."""
    part = min(part, whole)
    return (2 * np.arange(part) + 1) * whole // (2 * max(part, 1))


def sliding_windows(
    tokens: np.ndarray, context: int, stride: int, batch_size: int, starts: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yield windows of ``context`` tokens that move by ``stride``, each read from an empty state.

    The first window is scored whole, in every other one the last ``stride`` tokens: these have at least
    ``context - stride`` tokens before them.

    Args:
        starts: [D] places of the separators that begin a document, each with windows of its own, the shortest first;
            ``None``: documents are one stream.

    Raises:
        UserError: ``stride`` is not in [1, context], or another argument is below 1.
    """
    _check(batch_size=batch_size)
    windows = Windows(tokens, context, stride, starts)
    order = None if starts is None else np.argsort(windows.lengths(), kind="stable")
    for first in range(0, len(windows), batch_size):
        numbers_R = np.arange(first, min(first + batch_size, len(windows)))
        yield windows.batch(numbers_R if order is None else order[numbers_R])


def parts(
    tokens: np.ndarray, streams: int, context: int, batch_size: int, starts: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yield the stream in ``streams`` consecutive parts of equal length (to one token), each read with carried state.

    A part is read ``context`` tokens at a time. Parts come ``batch_size`` at a time, from their beginning to their
    end; their number, and so the context of each token, does not depend on the batch size.

    Args:
        starts: [D] places of the separators that begin a document: the parts are the documents, by length; ``None``:
            documents are one stream.

    Raises:
        UserError: an argument is below 1.
    """
    _check(streams=streams, context=context, batch_size=batch_size)
    length = len(tokens) - 1
    if starts is None:
        bounds = np.array([length * part // min(streams, length) for part in range(min(streams, length) + 1)])
        begins_D, ends_D = bounds[:-1], bounds[1:]
    else:
        begins_D, ends_D = spans(length, starts)
        order = np.argsort(ends_D - begins_D, kind="stable")
        begins_D, ends_D = begins_D[order], ends_D[order]
    for first in range(0, len(begins_D), batch_size):
        begins_R, ends_R = begins_D[first : first + batch_size], ends_D[first : first + batch_size]
        for offset in range(0, int((ends_R - begins_R).max()), context):
            rows_R = np.minimum(begins_R + offset, ends_R)
            rows_R3 = np.stack([rows_R, rows_R, np.minimum(rows_R + context, ends_R)], 1)
            yield _batch(tokens, rows_R3, continues=offset > 0)


def _check(**options: int) -> None:
    for option, value in options.items():
        if value < 1:
            raise UserError(f"{option}={value}: expected a whole number of at least 1")


def _batch(tokens: np.ndarray, rows_R3: np.ndarray, continues: bool = False) -> Batch:
    """Make a batch of rows, each given by its first input, its first scored input and the end of its inputs."""
    inputs_RT, targets_RT = filled(tokens, rows_R3, int((rows_R3[:, 2] - rows_R3[:, 0]).max()))
    return Batch(torch.from_numpy(inputs_RT), torch.from_numpy(targets_RT), fresh=not continues)


def filled(tokens: np.ndarray, rows_R3: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs and targets [R, width] int64 of rows, filled up on the right with id 0, which is not scored.

    Args:
        rows_R3: first input, first scored input and end of the inputs of each row.
    """
    inputs_RT = np.zeros((len(rows_R3), width), np.int64)
    targets_RT = np.full((len(rows_R3), width), NOT_SCORED, np.int64)
    for row, (start, scored, end) in enumerate(rows_R3.tolist()):
        inputs_RT[row, : end - start] = tokens[start:end]
        targets_RT[row, scored - start : end - start] = tokens[scored + 1 : end + 1]
    return inputs_RT, targets_RT


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
