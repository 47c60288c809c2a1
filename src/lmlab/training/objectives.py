"""Objectives of training: subclasses of :class:`Objective`, whose ``terms(model, batch)`` give the loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from lmlab.data.batch import Batch
from lmlab.data.order import step_seed
from lmlab.data.tokenizers import Tokenizer
from lmlab.errors import UserError
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import Output


def eager(compiled: bool) -> AbstractContextManager[object]:
    """Return a context in which a ``compiled`` network runs uncompiled: a few tokens do not cause a recompilation.

    For a network that is not compiled, the compiler is not imported.
    """
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


class Terms(NamedTuple):
    """The loss of a batch.

    The loss of an optimizer step is the sum of ``share * loss`` over its micro-batches on all ranks: one mean over
    everything that the step scores, however its rows are divided.

    Attributes:
        loss: scalar, the mean over the batch's scored positions; 0 if there are none.
        share: weight of the batch in the step's mean: ``batch.share`` for a mean over tokens, ``batch.row_share`` for a
            mean over sequences.
        output: output of the model, for its state after the batch and its auxiliary losses.
        logs: further means over the same positions, without gradient, logged as ``train/<name>``.
    """

    loss: Tensor
    share: float
    output: Output
    logs: dict[str, Tensor] = {}


@dataclass(frozen=True)
class StepContext:
    """The tools of :meth:`Objective.prepare`.

    Attributes:
        tokenizer: maps between tokens and text.
        context: limit of tokens that attention sees.
        compiled: the network is compiled for training.
        seed: seed of the random draws of this step, a function of the run's seed and the step.
    """

    tokenizer: Tokenizer
    context: int
    compiled: bool = False
    seed: int = 0

    def generate(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        length: int,
        decoding: Decoding,
        first_row: int = 0,
    ) -> list[list[int]]:
        """Return ``length`` tokens that continue each prompt, decoded in evaluation mode.

        The continuation of a prompt depends on the step and the prompt's number, not on other prompts.

        Args:
            prompts: at least one token each.
            decoding: settings other than the length.
            first_row: number of the first prompt within the step; ``batch.first_row`` for one prompt a row.
        """
        rows = [Row(prompt, step_seed(self.seed, first_row + row, 0)) for row, prompt in enumerate(prompts)]
        with eager(self.compiled):
            return [row.tokens for row in decode(model, rows, replace(decoding, length=length), self.context)]


class Objective(ABC):
    """A loss that training minimises."""

    def prepare(self, model: LanguageModel, batch: Batch, context: StepContext) -> Batch:
        """Return the batch for the loss; called without gradients. The default returns it unchanged.

        Override it to train on samples of the model.
        """
        return batch

    @abstractmethod
    def terms(self, model: LanguageModel, batch: Batch) -> Terms:
        """Return the loss of a batch, after calling ``model(batch.tokens, batch.state)`` once.

        Neither the batch nor the objective is changed.
        """


class CrossEntropy(Objective):
    """Mean negative log-likelihood of the next token, in nats.

    With label smoothing e the target is (1 - e) one-hot + e uniform over the V types (Szegedy et al. 2016, section 7):
    loss = -(1 - e) log p_y - (e / V) sum_v log p_v.

    Raises:
        UserError: ``label_smoothing`` is not in [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UserError(f"objective.label_smoothing={label_smoothing}: expected a number in [0, 1)")
        self.label_smoothing = label_smoothing

    def terms(self, model: LanguageModel, batch: Batch) -> Terms:
        output = model(batch.tokens, batch.state)
        loss = model.head.cross_entropy(*batch.scored(output.hidden), self.label_smoothing)
        return Terms(loss, batch.share, output)


class Brier(Objective):
    """Mean over tokens of sum_v (p_v - [v = y])^2, between 0 and 2 (Brier 1950, equation 2).

    This is the mean squared error over the V types times V. Written out it is sum_v p_v^2 - 2 p_y + 1, which needs no
    one-hot vector.
    """

    def terms(self, model: LanguageModel, batch: Batch) -> Terms:
        output = model(batch.tokens, batch.state)
        hidden_ND, targets_N = batch.scored(output.hidden)
        scores_N = model.head.per_token(brier_score, hidden_ND, targets_N)
        return Terms(scores_N.sum() / (targets_N >= 0).sum().clamp(min=1), batch.share, output)


def brier_score(log_probs_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Return the Brier scores [N], in [0, 2], of predictions [N, V] against ``targets_N`` [N]."""
    probs_NV = log_probs_NV.exp()
    probs_of_truth_N = probs_NV.gather(1, targets_N[:, None]).squeeze(1)
    return probs_NV.square().sum(1) - 2 * probs_of_truth_N + 1
