"""The most probable of several options after a prompt, which is read once for all of them.

Dimension legend: B prompts, O options of all of them, T tokens, N scored tokens, D width.
"""

from collections import deque
from collections.abc import Sequence

import torch

from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.models.reading import by_length, device_of, evaluation_mode, first_tokens, read
from lmlab.models.state import LanguageModelState


def score_options(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    options: Sequence[Sequence[Sequence[int]]],
    context: int,
    batch_size: int = 64,
) -> list[list[float]]:
    """Return the log-probability of each option of each prompt, in nats: the sum over its tokens.

    A prompt is read once, and its state is that of all its options. Prompts of unequal length are read together, up to
    the end of the shortest one that is left. The model may be in training: it reads in evaluation mode, without
    gradient, and its mode is restored. Results depend neither on the other prompts nor on ``batch_size``.

    Args:
        prompts: at least one token each.
        options: for each prompt the tokens of its options, at least one each.
        context: limit of tokens that attention sees.
        batch_size: options scored together, of one prompt at least; reduced if they do not fit into memory.
    """
    device = device_of(model)

    @torch.no_grad()
    def scored(numbers: Sequence[int]) -> list[list[float]]:
        results: dict[int, list[float]] = {}
        unread, state, begin = [*numbers], None, 0  # the shortest prompt first
        while unread:
            end = len(cut[unread[0]])
            tokens_BT = torch.tensor([cut[number][:end] for number in unread], device=device)
            hidden_BND, state = deque(read(model, tokens_BT, context, state, begin), maxlen=1).pop()
            complete = [place for place, number in enumerate(unread) if len(cut[number]) == end]
            rows_O = torch.tensor([place for place in complete for _ in options[unread[place]]], device=device)
            texts = [[*cut[unread[place]], *option] for place in complete for option in options[unread[place]]]
            sums = iter(_score(model, texts, hidden_BND[rows_O, -1:], model_state.select(state, rows_O), end, context))
            for place in complete:
                results[unread[place]] = [next(sums) for _ in options[unread[place]]]
            begin, unread = end, unread[len(complete) :]
            rows_B = torch.arange(len(complete), len(tokens_BT), device=device)
            state = model_state.select(state, rows_B)
        return [results[number] for number in numbers]

    with evaluation_mode(model):
        firsts = first_tokens(model, [len(prompt) for prompt in prompts], context)
        cut = [tuple(prompt[first:]) for prompt, first in zip(prompts, firsts, strict=True)]
        prompts_at_once = max(1, batch_size // max(map(len, options), default=1))
        return by_length([len(prompt) for prompt in cut], prompts_at_once, scored)


def _score(
    model: LanguageModel,
    texts: Sequence[Sequence[int]],
    hidden_O1D: torch.Tensor,
    state: LanguageModelState,
    begin: int,
    context: int,
) -> list[float]:
    """Return the log-probability of each text from token ``begin`` on, where ``state`` and ``hidden_O1D`` are."""
    device = hidden_O1D.device
    longest = max(map(len, texts))
    tokens_OT = torch.zeros(len(texts), longest, dtype=torch.int64)
    targets_ON = torch.full((len(texts), longest - begin), -1)
    for row, text in enumerate(texts):
        tokens_OT[row, : len(text)] = torch.tensor(text)
        targets_ON[row, : len(text) - begin] = torch.tensor(text[begin:])
    later = [hidden_OND for hidden_OND, _ in read(model, tokens_OT[:, :-1].to(device), context, state, begin)]
    hidden_OND = torch.cat([hidden_O1D, *later], 1)
    nats_N, _, _ = model.head.score(hidden_OND.flatten(0, 1), targets_ON.flatten().clamp(min=0).to(device))
    nats_ON = nats_N.view(targets_ON.shape).cpu().double().masked_fill(targets_ON < 0, 0.0)
    return (-nats_ON.sum(1)).tolist()
