"""Decoding: the settings, the rows to be continued and their continuations.

Dimension legend: B rows, V vocabulary.
"""

import json
import math
import random
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lmlab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_COLDEST = 1e-6
"""The lowest temperature: log-probabilities divided by less overflow single precision."""

_STRONGEST, _STEEPEST = 1000, 10
"""The largest penalties for repetition and length."""


@dataclass(frozen=True)
class Decoding:
    """Settings of decoding: sampling, or greedy decoding, or beam search if there is more than one beam.

    Attributes:
        temperature: log-probabilities are divided by it before a token is sampled.
        top_k: sample among the k most probable tokens only.
        top_p: sample among the fewest tokens whose probabilities add up to at least p (Holtzman et al. 2020, section
            3.1).
        greedy: always take the most probable token; nothing is sampled.
        length: the largest number of tokens.
        repetition_penalty: log-probabilities of tokens that the row contains already are multiplied by it (Keskar et
            al. 2019, section 4.1); 1: none. The paper divides positive logits and multiplies negative ones; here it is
            applied to log-probabilities, which are never positive and, unlike logits, have no arbitrary constant.
            Tokens that end a row are exempt.
        beams: number of texts that beam search extends at a time. 1: no beam search. Beam search samples nothing.
        length_penalty: beam search ranks texts by the sum of their log-probabilities divided by their number of tokens
            to this power (Wu et al. 2016, section 7, before equation 14). 0: by their probability.
        best: number of texts that beam search returns, the best first.
        stop: strings before which a text ends. They need the tokenizer, so callers pass them on as ``Row.ends``.
        extract: an answer consists of words in a row of its input. Callers pass them on as ``Row.allowed``.

    Raises:
        UserError: a setting is out of its range, or two cannot be combined.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool = False
    length: int = 200
    repetition_penalty: float = 1.0
    beams: int = 1
    length_penalty: float = 0.0
    best: int = 1
    stop: tuple[str, ...] = ()
    extract: bool = False

    def __post_init__(self) -> None:
        for option, count in (("length", self.length), ("beams", self.beams), ("best", self.best)):
            if count < 1:
                raise UserError(f"{option}={count}: expected a whole number of at least 1")
        if not _COLDEST <= self.temperature <= 1 / _COLDEST:
            raise UserError(
                f"temperature={self.temperature}: expected a number above 0, from {_COLDEST:g} to {1 / _COLDEST:g} "
                "(greedy=true takes the most probable)"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k={self.top_k}: expected a whole number of at least 1, or null")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p}: expected a number above 0 and at most 1, or null")
        if not 0 < self.repetition_penalty <= _STRONGEST:
            raise UserError(
                f"repetition_penalty={self.repetition_penalty}: expected a number above 0 and at most {_STRONGEST} "
                "(1: none; usual: 1.2)"
            )
        if not 0 <= self.length_penalty <= _STEEPEST:
            raise UserError(
                f"length_penalty={self.length_penalty}: expected a number from 0 to {_STEEPEST} (0: none; usual: 0.6)"
            )
        self._check_beams()

    def _check_beams(self) -> None:
        if self.beams == 1 and self.length_penalty:
            raise UserError(f"length_penalty={self.length_penalty}: is for beam search; choose beams=2 or more as well")
        if self.best > self.beams:
            raise UserError(
                f"best={self.best}: needs at least as many beams, not {self.beams}; choose beams={self.best} as well"
            )
        sampling = {"top_k": self.top_k, "top_p": self.top_p, "greedy": "true" if self.greedy else None}
        for option, value in sampling.items():
            if self.beams > 1 and value is not None:
                raise UserError(f"beams={self.beams}: cannot be combined with {option}={value}; leave one of them out")

    def signature(self) -> str:
        """Return the settings that affect the result on one line, as they are typed: ``length=64 greedy=true``."""
        top_p = None if self.top_p is None else float(self.top_p)
        settings: dict[str, Any] = {"temperature": float(self.temperature), "top_k": self.top_k, "top_p": top_p}
        if self.beams > 1:
            settings = {"beams": self.beams, "length_penalty": float(self.length_penalty)}
        elif self.greedy:
            settings = {"greedy": "true"}
        penalty = None if self.repetition_penalty == 1 else float(self.repetition_penalty)
        settings |= {"extract": "true" if self.extract else None}
        settings |= {"length": self.length, "repetition_penalty": penalty}
        words = [f"{option}={value}" for option, value in settings.items() if value is not None]
        if self.stop:
            words.append("stop=" + shlex.quote(json.dumps(self.stop, ensure_ascii=False)))
        return " ".join(words)

    def choose(self, log_probs_BV: "Tensor", uniform_B: Sequence[float]) -> "Tensor":
        """Return the next token of each row, greedy or sampled: [B] int64 on the device of ``log_probs_BV``.

        Args:
            log_probs_BV: log-probabilities, after the repetition penalty.
            uniform_B: a random number in [0, 1) for each row, which determines a token that is sampled.

        Raises:
            UserError: some log-probabilities are NaN.
        """
        if self.greedy:
            best_B, token_B = log_probs_BV.max(1)  # NaN counts as the largest
            refuse_nan(best_B)
            return token_B
        import torch  # here, so that settings are checked without it

        # Sampled on the CPU, so that a seed means the same text on every device.
        kept_BV = self.restrict(log_probs_BV.float().cpu() / self.temperature)
        cumulative_BV = kept_BV.softmax(1).double().cumsum(1)
        refuse_nan(cumulative_BV[:, -1])
        point_B1 = torch.tensor(uniform_B, dtype=torch.float64)[:, None] * cumulative_BV[:, -1:]
        drawn_B1 = torch.searchsorted(cumulative_BV, point_B1, right=True).clamp(max=cumulative_BV.shape[1] - 1)
        return drawn_B1.squeeze(1).to(log_probs_BV.device)

    def restrict(self, scores_BV: "Tensor") -> "Tensor":
        """Return the scores with -inf for every token that top-k or top-p excludes."""
        if self.top_k is not None and self.top_k < scores_BV.shape[1]:
            least_B1 = scores_BV.topk(self.top_k, dim=1).values[:, -1:]
            scores_BV = scores_BV.masked_fill(scores_BV < least_B1, -math.inf)
        if self.top_p is not None:
            sorted_BV, order_BV = scores_BV.sort(dim=1, descending=True)
            probs_BV = sorted_BV.softmax(1)
            # A token stays if the more probable ones add up to less than p; the first always stays.
            left_out_BV = (probs_BV.cumsum(1) - probs_BV) >= self.top_p
            left_out_BV[:, 0] = False
            scores_BV = scores_BV.masked_fill(left_out_BV.gather(1, order_BV.argsort(1)), -math.inf)
        return scores_BV

    def penalise(self, log_probs_BV: "Tensor", seen_B: Sequence[Collection[int]]) -> "Tensor":
        """Return the log-probabilities after the repetition penalty.

        Args:
            seen_B: the different tokens of each row that are penalised.
        """
        if self.repetition_penalty == 1:
            return log_probs_BV
        rows_N = [row for row, seen in enumerate(seen_B) for _ in seen]
        tokens_N = [token for seen in seen_B for token in seen]
        penalised_BV = log_probs_BV.clone()
        penalised_BV[rows_N, tokens_N] *= self.repetition_penalty
        return penalised_BV


def only_allowed(log_probs_BV: "Tensor", rows_B: "Sequence[Row]", tokens_B: Sequence[Sequence[int]]) -> "Tensor":
    """Return the log-probabilities with -inf for tokens that a row does not allow next.

    Args:
        tokens_B: the new tokens of each row so far.
    """
    allowed = [row.allowed and row.allowed(tokens) for row, tokens in zip(rows_B, tokens_B, strict=True)]
    if all(tokens is None for tokens in allowed):
        return log_probs_BV
    possible_BV = log_probs_BV.new_full(log_probs_BV.shape, -math.inf)
    for row, tokens in enumerate(allowed):
        places = slice(None) if tokens is None else [*tokens]
        possible_BV[row, places] = log_probs_BV[row, places]
    return possible_BV


def refuse_nan(values: "Tensor") -> None:
    """Raise ``UserError`` if some of ``values``, which depend on a model's predictions, are NaN."""
    if values.isnan().any():
        raise UserError("the model predicts NaN probabilities (it diverged in training)")


@dataclass
class Row:
    """A text to be continued.

    Attributes:
        prompt: the tokens that the row begins with, at least one.
        seed: seed of this row's random numbers: its text does not depend on the other rows.
        stop: tokens that end the row; the stop token is kept as the last one.
        length: limit of new tokens for this row, if it is below the limit for all rows.
        ends: called with the new tokens so far, after each; the row ends where it returns true, as for a stop string
            (:func:`lmlab.data.text_stream.stop_at`). The result must depend on the tokens alone.
        allowed: called with the new tokens so far; the next token is one of those that it returns, at least one
            (:meth:`lmlab.data.extracts.Extracts.following`). The result must depend on the tokens alone.
        ended: set after the last token unless the limit was reached, or by the caller; no more tokens follow.
    """

    prompt: Sequence[int]
    seed: int = 1
    stop: Collection[int] = ()
    length: int | None = None
    ends: Callable[[Sequence[int]], bool] | None = None
    allowed: Callable[[Sequence[int]], Collection[int]] | None = None
    ended: bool = False
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed % 2**63)

    def draw(self) -> float:
        """Return the row's next random number in [0, 1), without using the global random number generators."""
        return self._random.random()

    def limit(self, length: int) -> int:
        """Return the largest number of new tokens, where ``length`` is that of all rows."""
        return length if self.length is None else min(length, self.length)

    def end(self, tokens: Sequence[int]) -> "Ending | None":
        """Return what ends the row after the new ``tokens``, apart from their number; ``None``: nothing."""
        if tokens[-1] in self.stop:
            return "stop"
        return "text" if self.ends is not None and self.ends(tokens) else None


Ending = Literal["stop", "text", "length"]
"""The end of a row: a stop token, its text (see ``Row.ends``), the limit of tokens."""


class Continuation(NamedTuple):
    """The continuation of a prompt.

    Attributes:
        tokens: the new tokens, including a stop token or those of a stop string.
        log_probs: log-probability of each under the model, in nats, before penalty, temperature, top-k and top-p.
        ended_by: what ended it.
        score: its rank in beam search: the sum of the log-probabilities after the repetition penalty, divided by the
            number of tokens to the power of the length penalty. Otherwise the sum of ``log_probs``.
    """

    tokens: list[int]
    log_probs: list[float]
    ended_by: Ending
    score: float

    @property
    def text_tokens(self) -> list[int]:
        """Return the tokens without the stop token."""
        return self.tokens[:-1] if self.ended_by == "stop" else self.tokens
