"""Reading sequences of any length and number with a language model that may be in training.

Dimension legend: B sequences, P different prompts, T tokens, N tokens of a piece that is read at once,
D width.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState

Result = TypeVar("Result")


@torch.no_grad()
def tokens_left_out(model: LanguageModel, tokens: int, context: int) -> int:
    """Return how many tokens at the start of a prompt of ``tokens`` tokens do not affect its continuation.

    A recurrent state depends on every token. A model with attention alone, or with a limited number of positions, sees
    the last ``context`` tokens.
    """
    if tokens <= context:
        return 0
    if model.max_positions is None:
        state = model(torch.zeros(1, 1, dtype=torch.int64, device=device_of(model)), None).state
        # Of a block with a token shift, the mixer's state alone: the shift reaches back by one token.
        of_mixers = model.mixer_states(state)
        if len(model_state.values(of_mixers)) > sum(len(cache) for cache in model_state.caches(of_mixers)):
            return 0
    return tokens - context


def first_tokens(model: LanguageModel, lengths: Sequence[int], context: int) -> list[int]:
    """Return the index of the first token that is read of each prompt (see :func:`tokens_left_out`)."""
    reads_all = tokens_left_out(model, max(lengths, default=0), context) == 0
    return [0 if reads_all else max(0, length - context) for length in lengths]


@torch.no_grad()
def read(
    model: LanguageModel, tokens_BT: Tensor, context: int, state: LanguageModelState | None = None, begin: int = 0
) -> Iterator[tuple[Tensor, LanguageModelState]]:
    """Yield the hidden vectors [B, N, D] of sequences of equal length, piece by piece, with the state after each.

    A token sees the same earlier tokens as in generation: at most ``context`` tokens in attention, all of them in a
    recurrent state. A model that runs out of positions starts again from the last half of the context.

    Args:
        state: after the first ``begin`` tokens of each sequence, which are not read again; ``None`` if there are none.
    """
    end = begin
    while end < tokens_BT.shape[1]:
        begin = end
        if state is None:
            piece, before = tokens_BT[:, :context], None
        elif not model_state.has_room(state, 1, model.max_positions):
            begin = end + 1 - max(1, context // 2)
            piece, before = tokens_BT[:, begin : begin + context], None
        else:
            # With attention, one by one beyond the context, as in generation: so no token sees more than in training.
            bounded = model_state.caches(state) or model.max_positions
            size = max(1, context - int(state.position.max())) if bounded else context
            piece, before = tokens_BT[:, begin : begin + size], model_state.crop(state, context - 1)
        hidden_BND, state, _ = model(piece, before)
        yield hidden_BND[:, end - begin :], state
        end = begin + piece.shape[1]


class Sequences:
    """Sequences of unequal length that a model reads together, token by token after the shortest one.

    Prompts of unequal length need no support from mixers: the length of the shortest one is read at once, equal prompts
    only once; then one token of each sequence at a time, which is the next one of its prompt or one that
    was appended to it. So all sequences have read the same number of tokens at any time, and none is padded.

    Attention sees at most ``context`` tokens, as in training, so memory stays constant. A model that runs out of
    positions starts again from the last half of its context. Of a prompt that is longer than the context, a model with
    a recurrent state reads all, another one the end (see :func:`tokens_left_out`).

    Attributes:
        last_BD: the hidden vector after the last token that each sequence has read.
        unread: for each sequence, the tokens of it that have not been read.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]], context: int) -> None:
        self._model, self._context, self._device = model, context, device_of(model)
        firsts = first_tokens(model, [len(prompt) for prompt in prompts], context)
        cut = [tuple(prompt[first:]) for prompt, first in zip(prompts, firsts, strict=True)]
        shortest = min(map(len, cut))
        different = {prompt: number for number, prompt in enumerate(dict.fromkeys(cut))}
        tokens_PT = torch.tensor([prompt[:shortest] for prompt in different], device=self._device)
        hidden_PND, state = deque(read(model, tokens_PT, context), maxlen=1).pop()
        of_prompt_B = torch.tensor([different[prompt] for prompt in cut], device=self._device)
        self.last_BD = hidden_PND[of_prompt_B, -1]
        self.unread = [deque(prompt[shortest:]) for prompt in cut]
        self._state = model_state.select_with_room(state, of_prompt_B)
        self._recent = [deque(prompt[:shortest], context) for prompt in cut]

    def ready(self) -> list[int]:
        """Return the numbers of the sequences that have been read to the end."""
        return [number for number, unread in enumerate(self.unread) if not unread]

    def select(self, numbers: Sequence[int]) -> None:
        """Keep the sequences with these numbers, in that order; a number may be repeated."""
        if [*numbers] == [*range(len(self.unread))]:
            return
        rows_B = torch.tensor(numbers, device=self._device)
        change = model_state.reorder if len(numbers) == len(self.unread) else model_state.select_with_room
        self._state = change(self._state, rows_B)
        self.last_BD = self.last_BD[rows_B]
        self.unread = [self.unread[number].copy() for number in numbers]
        self._recent = [self._recent[number].copy() for number in numbers]

    def read_next(self) -> None:
        """Read the next token of every sequence; each must have one left."""
        for recent, unread in zip(self._recent, self.unread, strict=True):
            recent.append(unread.popleft())
        if model_state.has_room(self._state, 1, self._model.max_positions):
            tokens = [[recent[-1]] for recent in self._recent]
            before = model_state.crop(self._state, self._context - 1)
        else:
            tokens = [[*recent][-max(1, self._context // 2) :] for recent in self._recent]
            before = None
        hidden_BND, self._state, _ = self._model(torch.tensor(tokens, device=self._device), before)
        self.last_BD = hidden_BND[:, -1]


def by_length(
    lengths: Sequence[int], batch_size: int, work: Callable[[Sequence[int]], Sequence[Result]]
) -> list[Result]:
    """Return ``work`` for each of many sequences, done in batches of similar length.

    Args:
        lengths: lengths of the sequences.
        batch_size: sequences in a batch; it is halved whenever a batch does not fit into memory.
        work: called with the numbers of the sequences of a batch, returns a result for each.
    """
    order = sorted(range(len(lengths)), key=lambda number: lengths[number])
    results: dict[int, Result] = {}
    while len(results) < len(order):
        batch = order[len(results) : len(results) + batch_size]
        try:
            results.update(zip(batch, work(batch), strict=True))
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            batch_size = len(batch) // 2
    return [results[number] for number in range(len(lengths))]


@contextmanager
def evaluation_mode(model: LanguageModel) -> Iterator[None]:
    """Put a model into evaluation mode, and restore the mode of each of its modules afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: LanguageModel) -> torch.device:
    """Return the device of a model's weights."""
    return next(model.parameters()).device
