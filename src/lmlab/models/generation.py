"""Generate text with any model, one token at a time with carried state: written once, against the contract.

Rows are continued together, with one forward pass per position. Prompts of unequal length need no support from mixers:
the length of the shortest prompt is read at once; then the rest of the longer prompts is read token by token while the
shorter ones are continued. So all rows have read the same number of tokens at any time.

Dimension legend: B rows, P different prompts among them, T tokens, D width, V vocabulary.
"""

import random
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.models.reading import by_length, device_of, evaluation_mode, read

_COLDEST = 1e-6
"""The lowest temperature: log-probabilities divided by less overflow single precision."""


class Sampler:
    """Chooses the next token from a distribution.

    Args:
        temperature: log-probabilities are divided by it.
        top_k: keep the k most probable tokens only.
        top_p: keep the fewest tokens whose probabilities add up to at least p (Holtzman et al. 2020, section 3.1).
        greedy: always take the most probable token; the other settings are ignored.

    Raises:
        UserError: a setting is out of its range.
    """

    def __init__(
        self, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, greedy: bool = False
    ) -> None:
        if not _COLDEST <= temperature <= 1 / _COLDEST:
            raise UserError(
                f"temperature={temperature}: expected a number above 0, from {_COLDEST:g} to {1 / _COLDEST:g} "
                "(greedy=true takes the most probable)"
            )
        if top_k is not None and top_k < 1:
            raise UserError(f"top_k={top_k}: expected a whole number of at least 1, or null")
        if top_p is not None and not 0 < top_p <= 1:
            raise UserError(f"top_p={top_p}: expected a number above 0 and at most 1, or null")
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.greedy = greedy

    def __call__(self, log_probs_BV: Tensor, uniform_B: Sequence[float]) -> Tensor:
        """Return one token for each row: [B] int64 on the device of ``log_probs_BV``.

        Args:
            uniform_B: a random number in [0, 1) for each row, which determines its token.

        Raises:
            UserError: some log-probabilities are NaN.
        """
        if log_probs_BV.isnan().any():
            raise UserError("the model predicts NaN probabilities (it diverged in training)")
        if self.greedy:
            return log_probs_BV.argmax(1)
        # Drawn on the CPU, so that a seed means the same text on every device.
        kept_BV = self.restrict(log_probs_BV.float().cpu() / self.temperature)
        cumulative_BV = kept_BV.softmax(1).double().cumsum(1)
        point_B1 = torch.tensor(uniform_B, dtype=torch.float64)[:, None] * cumulative_BV[:, -1:]
        drawn_B1 = torch.searchsorted(cumulative_BV, point_B1, right=True).clamp(max=cumulative_BV.shape[1] - 1)
        return drawn_B1.squeeze(1).to(log_probs_BV.device)

    def restrict(self, scores_BV: Tensor) -> Tensor:
        """Return the scores with -inf for every token that top-k or top-p excludes."""
        if self.top_k is not None and self.top_k < scores_BV.shape[1]:
            least_B1 = scores_BV.topk(self.top_k, dim=1).values[:, -1:]
            scores_BV = scores_BV.masked_fill(scores_BV < least_B1, -torch.inf)
        if self.top_p is not None:
            sorted_BV, order_BV = scores_BV.sort(dim=1, descending=True)
            probs_BV = sorted_BV.softmax(1)
            # A token stays if the more probable ones add up to less than p; the first always stays.
            left_out_BV = (probs_BV.cumsum(1) - probs_BV) >= self.top_p
            left_out_BV[:, 0] = False
            scores_BV = scores_BV.masked_fill(left_out_BV.gather(1, order_BV.argsort(1)), -torch.inf)
        return scores_BV


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


@dataclass
class Row:
    """A text to be continued.

    Attributes:
        prompt: the tokens that the row begins with, at least one.
        seed: seed of this row's random numbers: its text does not depend on the other rows.
        stop: tokens that end the row; the stop token is kept as the last one.
        length: limit of drawn tokens for this row, if it is below the limit for all rows.
        ended: set after a stop token, or by the caller; no more tokens are drawn for this row.
    """

    prompt: Sequence[int]
    seed: int = 1
    stop: Collection[int] = ()
    length: int | None = None
    ended: bool = False
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed % 2**63)

    def draw(self) -> float:
        """Return the row's next random number in [0, 1), without using the global random number generators."""
        return self._random.random()


class Drawn(NamedTuple):
    """A drawn token, its row, and its log-probability under the model (before temperature, top-k and top-p)."""

    row: int
    token: int
    log_prob: float


@torch.no_grad()
def generate(model: LanguageModel, rows: Sequence[Row], length: int, sampler: Sampler, context: int) -> Iterator[Drawn]:
    """Yield up to ``length`` tokens that continue each of ``rows``, each as soon as it is drawn.

    Memory stays constant: attention sees at most ``context`` tokens, as in training. A model that runs out of positions
    starts again from the last half of its context. A model with a recurrent state reads the whole of a longer prompt,
    another one the end (see :func:`tokens_left_out`). Rows with the same prompt share one reading of it.

    Raises:
        UserError: the model predicts NaN.
    """
    device = device_of(model)
    begins = first_tokens(model, [len(row.prompt) for row in rows], context)
    prompts = [tuple(row.prompt[begin:]) for row, begin in zip(rows, begins, strict=True)]
    different = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    shortest = min(map(len, prompts))
    prompt_PT = torch.tensor([prompt[:shortest] for prompt in different], device=device)
    hidden_PND, state = deque(read(model, prompt_PT, context), maxlen=1).pop()
    of_prompt_B = torch.tensor([different[prompt] for prompt in prompts], device=device)
    last_BD, state = hidden_PND[of_prompt_B, -1], model_state.with_room(model_state.select(state, of_prompt_B))

    recent = [deque(prompt[:shortest], context) for prompt in prompts]
    unread = [deque(prompt[shortest:]) for prompt in prompts]
    left = [length if row.length is None else min(length, row.length) for row in rows]
    active = list(range(len(rows)))
    while True:
        drawing = [place for place, row in enumerate(active) if not unread[row]]
        if drawing:
            log_probs_BV = model.head.log_probs(last_BD[drawing])
            token_B = sampler(log_probs_BV, [rows[active[place]].draw() for place in drawing])
            log_prob_B = log_probs_BV.gather(1, token_B[:, None])[:, 0]
            for place, token, log_prob in zip(drawing, token_B.tolist(), log_prob_B.tolist(), strict=True):
                row = active[place]
                unread[row].append(token)
                left[row] -= 1
                rows[row].ended |= token in rows[row].stop
                yield Drawn(row, token, log_prob)
        going_on = [place for place, row in enumerate(active) if left[row] and not rows[row].ended]
        if not going_on:
            return
        if len(going_on) < len(active):
            state = model_state.with_room(model_state.select(state, torch.tensor(going_on, device=device)))
            active = [active[place] for place in going_on]
        for row in active:
            recent[row].append(unread[row].popleft())
        if not model_state.has_room(state, 1, model.max_positions):
            tokens, before = [[*recent[row]][-max(1, context // 2) :] for row in active], None
        else:
            tokens, before = [[recent[row][-1]] for row in active], model_state.crop(state, context - 1)
        hidden_BTD, state, _ = model(torch.tensor(tokens, device=device), before)
        last_BD = hidden_BTD[:, -1]


class Continuation(NamedTuple):
    """The continuation of a prompt.

    Attributes:
        tokens: the drawn tokens, a stop token included.
        log_probs: log-probability of each of them under the model, in nats, before temperature, top-k and top-p.
        ended_by: ``stop``: the last token is one of the row's stop tokens; ``length``: the limit was reached.
    """

    tokens: list[int]
    log_probs: list[float]
    ended_by: Literal["stop", "length"]

    @property
    def text_tokens(self) -> list[int]:
        """Return the tokens without the stop token."""
        return self.tokens[:-1] if self.ended_by == "stop" else self.tokens


def decode(
    model: LanguageModel, rows: Sequence[Row], length: int, sampler: Sampler, context: int, batch_size: int = 64
) -> list[Continuation]:
    """Continue each of ``rows`` up to a stop token, by ``length`` tokens at most.

    Like :func:`generate`, but all at once and for any number of rows. The model may be in training: it reads in
    evaluation mode, without gradient, and its mode is restored. The rows are not changed. A row's continuation depends
    on the row alone, not on other rows or ``batch_size``.

    Args:
        length: at least 1.
        sampler: ``Sampler(greedy=True)`` takes the most probable tokens.
        context: limit of tokens that attention sees.
        batch_size: rows continued together; reduced if they do not fit into memory.

    Raises:
        UserError: the model predicts NaN.
    """

    def continued(numbers: Sequence[int]) -> list[Continuation]:
        batch = [replace(rows[number], ended=False) for number in numbers]
        decoded: list[Continuation] = [Continuation([], [], "length") for _ in batch]
        for row, token, log_prob in generate(model, batch, length, sampler, context):
            decoded[row].tokens.append(token)
            decoded[row].log_probs.append(log_prob)
        return [
            one._replace(ended_by="stop" if row.ended else "length") for one, row in zip(decoded, batch, strict=True)
        ]

    with evaluation_mode(model):
        return by_length([len(row.prompt) for row in rows], batch_size, continued)
