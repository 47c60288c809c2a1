"""The objective of training: the loss of a batch, and how much of its optimizer step that batch is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lmlab.data.batch import Batch
from lmlab.data.tokenizers import Tokenizer
from lmlab.models.generation import Row, Sampler, decode
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import Output
from lmlab.training.settings import step_seed


def eager(compiled: bool) -> AbstractContextManager[object]:
    """Run below what is ``compiled`` as it is written: for a few tokens it is not compiled anew.

    Nothing that compiles is imported for what is not.
    """
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


class Terms(NamedTuple):
    """The loss of a batch.

    The loss of an optimizer step is the sum of ``share * loss`` over its micro-batches on all ranks: one mean over
    everything that the step scores, however its rows are divided.

    Attributes:
        loss: scalar, the mean over what the batch scores; 0 if that is nothing.
        share: what the batch scores as a part of what the whole step scores: ``batch.share`` for a mean over tokens,
            ``batch.row_share`` for a mean over sequences.
        output: of the model, for its state after the batch and its auxiliary losses.
        logs: more means over the same, without gradient, logged as ``train/<name>``.
    """

    loss: Tensor
    share: float
    output: Output
    logs: dict[str, Tensor] = {}


@dataclass(frozen=True)
class StepContext:
    """The tools of :meth:`Objective.prepare`.

    Attributes:
        tokenizer: between tokens and text.
        context: most tokens that attention sees.
        compiled: the network is compiled for training.
        seed: of the random draws of this step, a function of the run's seed and the step.
    """

    tokenizer: Tokenizer
    context: int
    compiled: bool = False
    seed: int = 0

    def generate(
        self, model: LanguageModel, prompts: Sequence[Sequence[int]], length: int, sampler: Sampler, first_row: int = 0
    ) -> list[list[int]]:
        """Return ``length`` tokens that continue each prompt, drawn in evaluation mode.

        What is drawn for a prompt depends on the step and on its number alone, not on the prompts beside it.

        Args:
            prompts: at least one token each.
            first_row: number of the first prompt within the step; ``batch.first_row`` for one prompt a row.
        """
        rows = [Row(prompt, step_seed(self.seed, first_row + row, 0)) for row, prompt in enumerate(prompts)]
        with eager(self.compiled):
            return [row.tokens for row in decode(model, rows, length, sampler, self.context)]


class Objective(ABC):
    """A loss that training makes small."""

    def prepare(self, model: LanguageModel, batch: Batch, context: StepContext) -> Batch:
        """Return the batch to take the loss of; called without gradients. The default returns it as it is.

        Override it to train on what the model samples.
        """
        return batch

    @abstractmethod
    def terms(self, model: LanguageModel, batch: Batch) -> Terms:
        """Return the loss of a batch, after calling ``model(batch.tokens, batch.state)`` once.

        Neither the batch nor the objective is changed.
        """
