"""The base class of generators: sequences of symbols with the answers to be learned and scored."""

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from lmlab.data.dataset import NOT_SCORED, Dataset, Opening
from lmlab.errors import UserError

if TYPE_CHECKING:
    from lmlab.data.judges import Judge
    from lmlab.data.tasks.generated import GeneratedTask
    from lmlab.data.tokenizers import Tokenizer


__all__ = ["NOT_SCORED", "Generator"]


class Generator(Dataset):
    """Draws sequences of any length; splits differ only in length and random draws.

    A new generated task is one file: a subclass with ``name``, ``vocabulary`` and the abstract methods below.

    Args:
        longer: length of sequences of the split ``longer``, as a multiple of that in training (length
            generalisation); ``None``: there is no such split.

    Attributes:
        name: its name in runs.
        vocabulary: number of symbols; they are 0 to vocabulary - 1.

    Raises:
        UserError: ``longer`` is below 2.
    """

    required = ("name", "vocabulary")
    name: str
    vocabulary: int

    def __init__(self, longer: int | None = 4) -> None:
        if longer is not None and longer < 2:
            raise UserError(f"data.longer={longer}: expected at least 2, or null for no longer sequences")
        self.longer = longer

    @abstractmethod
    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw sequences: inputs [rows, length] int64, and targets of that shape, -1 where nothing is scored.

        ``targets[r, t]`` is the right prediction after reading ``inputs[r, : t + 1]``. An instance that is
        shorter than ``length`` is padded; padding is not scored. Every row has at least one scored position.
        """

    @abstractmethod
    def check(self, length: int) -> None:
        """Refuse a length that cannot hold an instance. Raises ``UserError`` naming ``batch.context``."""

    def judges(self, tokenizer: "Tokenizer", context: int) -> "list[Judge]":
        """Return new judges of a split; override it for metrics other than those of the answers' probabilities.

        Args:
            tokenizer: turns symbols into text.
            context: tokens in a sequence of training.
        """
        from lmlab.data.judges import AnswerLikelihood, Breakdown

        return [AnswerLikelihood(Breakdown(context, None))]

    def open(self, opening: Opening) -> "GeneratedTask":
        from lmlab.data.tasks.generated import GeneratedTask

        return GeneratedTask.of(self, opening)
