"""Test the contract of a model on a few tokens: causality, and equal results step by step and at once.

Dimension legend: T positions, V vocabulary.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lmlab.models.language_model import LanguageModel

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}
"""Tolerance for values that are mathematically equal, by the type of the weights; hidden vectors and logits are of the
order of 1."""

LENGTH = 16
"""Tokens of the sequence that is read."""


@dataclass(frozen=True)
class Checks:
    """Results of the checks of a model.

    Attributes:
        causal: no hidden vector depends on later tokens.
        stepwise: largest difference of log-probabilities between reading one by one with carried state and at once;
            ``None``: a log-probability is NaN.
        stepwise_agrees: ``stepwise`` is within the tolerance.
        tolerance: largest difference that counts as equal.
        dtype: type of the weights.
    """

    causal: bool
    stepwise: float | None
    stepwise_agrees: bool
    tolerance: float
    dtype: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def check(model: LanguageModel, context: int) -> Checks:
    """Check a model with its current weights; its mode and the random number generators stay as they were.

    Args:
        context: length of the longest training sequence.
    """
    weight = next(model.parameters())
    was_training = model.training
    model.eval()
    tokens_TT = variations(min(LENGTH, context), model.head.vocabulary).to(weight.device)
    hidden_TTD = model(tokens_TT, None).hidden
    at_once_TV = model.head.log_probs(hidden_TTD[0]).double()
    state, steps = None, []
    for token_11 in tokens_TT[:1].split(1, 1):
        hidden_11D, state, _ = model(token_11, state)
        steps.append(model.head.log_probs(hidden_11D[0]).double())
    model.train(was_training)
    tolerance = TOLERANCE[weight.dtype]
    ahead = look_ahead(hidden_TTD)
    stepwise = float((torch.cat(steps) - at_once_TV).abs().max())
    return Checks(
        causal=ahead <= tolerance * max(1.0, float(hidden_TTD.abs().max())),
        stepwise=stepwise if stepwise < float("inf") else None,
        stepwise_agrees=stepwise <= tolerance,
        tolerance=tolerance,
        dtype=str(weight.dtype).removeprefix("torch."),
    )


def variations(length: int, vocabulary: int) -> Tensor:
    """Return a random sequence and variations of it [T, T].

    Row 0 is the sequence itself; row t, for t from 1 to T - 1, differs from it in every token from position t on.
    """
    draw = torch.Generator(device="cpu").manual_seed(0)
    tokens_1T = torch.randint(vocabulary, (1, length), generator=draw, device="cpu")
    shift_1T = torch.randint(1, max(2, vocabulary), (1, length), generator=draw, device="cpu")
    changed_TT = torch.ones(length, length, dtype=torch.bool, device="cpu").triu()
    changed_TT[0] = False
    return torch.where(changed_TT, (tokens_1T + shift_1T) % vocabulary, tokens_1T)


def look_ahead(hidden_TTD: Tensor) -> float:
    """Return the largest difference of hidden vectors of :func:`variations` before the first differing token."""
    unchanged_TT = torch.ones(hidden_TTD.shape[:2], dtype=torch.bool, device=hidden_TTD.device).tril(-1)
    difference_TT = (hidden_TTD - hidden_TTD[:1]).abs().amax(2)
    differences = difference_TT[unchanged_TT]
    return float(differences.max()) if len(differences) else 0.0
