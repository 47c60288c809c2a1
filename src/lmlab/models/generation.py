"""Generating text with any model, one token at a time with carried state: written once, against the contract."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel

_COLDEST = 1e-6
"""The lowest temperature: divided by less, log-probabilities leave the range of single precision."""


class Sampler:
    """Chooses the next token from a distribution.

    Args:
        temperature: log-probabilities are divided by it.
        top_k: keep the k most probable tokens only.
        top_p: keep the fewest tokens whose probabilities add up to at least p (Holtzman et al. 2020, section 3.1).
        greedy: always the most probable token; the other settings then have no part in it.
        seed: of this sampler's own generator, so that sampling disturbs no other random draw.

    Raises:
        UserError: a setting is out of its range.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        greedy: bool = False,
        seed: int = 1,
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
        self._generator = torch.Generator().manual_seed(seed % 2**63)

    def __call__(self, log_probs_BV: Tensor) -> Tensor:
        """Return one token for each row: [B] int64 on the device of ``log_probs_BV``.

        Raises:
            UserError: some are not numbers.
        """
        if log_probs_BV.isnan().any():
            raise UserError("the network predicts nothing: its probabilities are NaN (it diverged in training)")
        if self.greedy:
            return log_probs_BV.argmax(1)
        # Drawn on the CPU, so that a seed means the same text on every device.
        kept_BV = self.restrict(log_probs_BV.float().cpu() / self.temperature)
        drawn_B1 = torch.multinomial(kept_BV.softmax(1), 1, generator=self._generator)
        return drawn_B1.squeeze(1).to(log_probs_BV.device)

    def restrict(self, scores_BV: Tensor) -> Tensor:
        """Return the scores with -inf for every token that top-k and top-p leave out."""
        if self.top_k is not None and self.top_k < scores_BV.shape[1]:
            least_B1 = scores_BV.topk(self.top_k, dim=1).values[:, -1:]
            scores_BV = scores_BV.masked_fill(scores_BV < least_B1, -torch.inf)
        if self.top_p is not None:
            sorted_BV, order_BV = scores_BV.sort(dim=1, descending=True)
            probs_BV = sorted_BV.softmax(1)
            # A token stays while what comes before it adds up to less than p; the first always stays.
            left_out_BV = (probs_BV.cumsum(1) - probs_BV) >= self.top_p
            left_out_BV[:, 0] = False
            scores_BV = scores_BV.masked_fill(left_out_BV.gather(1, order_BV.argsort(1)), -torch.inf)
        return scores_BV


@torch.no_grad()
def tokens_left_out(model: LanguageModel, prompt_BT: Tensor, context: int) -> int:
    """Return how many tokens at the start of a prompt have no part in what follows it.

    A recurrent state takes in every token. Attention alone sees the last ``context``, and so does a model whose
    positions end.
    """
    more = prompt_BT.shape[1] - context
    if more <= 0:
        return 0
    if model.max_positions is None:
        _, state = model(prompt_BT[:, :1], None)
        if len(model_state.tensors(state)) > sum(len(cache) for cache in model_state.caches(state)):
            return 0
    return more


@torch.no_grad()
def generate(model: LanguageModel, prompt_BT: Tensor, length: int, sampler: Sampler, context: int) -> Iterator[Tensor]:
    """Yield ``length`` tokens [B] that continue ``prompt_BT`` [B, T >= 1], each as soon as it is drawn.

    Memory stays constant: attention sees at most ``context`` tokens, as in training, and a model whose positions end
    reads the last half of its context afresh when they do. Of a longer prompt, a model with a recurrent state reads all
    and another one the end (see :func:`tokens_left_out`).

    Raises:
        UserError: the network predicts numbers that are none.
    """
    prompt_BT = prompt_BT[:, tokens_left_out(model, prompt_BT, context) :]
    unread_BT, rest_BT, state = prompt_BT[:, :context], prompt_BT[:, context:], None
    while rest_BT.shape[1] > 0:
        _, state = model(unread_BT, state)
        # Next to attention, one by one, as what is generated: so no token sees more of them than in training.
        size = 1 if model_state.caches(state) else context
        state = model_state.crop(state, context - 1)
        unread_BT, rest_BT = rest_BT[:, :size], rest_BT[:, size:]
    recent_BT = prompt_BT[:, -context:]
    for _ in range(length):
        if model.max_positions is not None and state is not None and state.position >= model.max_positions:
            unread_BT, state = recent_BT[:, -max(1, context // 2) :], None
        hidden_BTD, state = model(unread_BT, state)
        token_B = sampler(model.head.log_probs(hidden_BTD[:, -1]))
        yield token_B
        state = model_state.crop(state, context - 1)
        unread_BT = token_B[:, None]
        recent_BT = torch.cat([recent_BT, unread_BT], 1)[:, -context:]
