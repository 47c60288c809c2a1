"""Selective copying (Jing et al. 2019, "Gated orthogonal recurrent units"; Gu and Dao 2023, "Mamba", section 4.1.1).

    . a . . b . c . > . . .      at the dots after >: a, b, c

Mamba's settings: batch.context=4096, vocabulary 16, 16 symbols to copy (appendix E.1). Those of MAD (Poli et al. 2024):
batch.context=256 and the same otherwise, except for the places of the blanks: MAD puts each blank before a random
symbol; here all places are equally likely.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, distinct, require


class SelectiveCopying(Generator):
    """Symbols among blanks at random places, to be repeated in their order without the blanks.

    The last symbol of the vocabulary asks for the copy, the one before it is the blank. Answers are not fed back.
    Longer sequences have more blanks.

    Args:
        vocabulary: number of symbols, the blank and the copy sign included.
        copied: symbols to copy.

    Raises:
        UserError: an option leaves nothing to copy.
    """

    name = "selective_copying"

    def __init__(self, vocabulary: int = 16, copied: int = 16, longer: int | None = 4) -> None:
        super().__init__(longer)
        at_least("vocabulary", vocabulary, 4, "two symbols, the blank and the copy sign")
        at_least("copied", copied, 1, "a sequence has something to copy")
        self.vocabulary, self.copied = vocabulary, copied

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        blank, copy = self.vocabulary - 2, self.vocabulary - 1
        symbols = random.integers(0, blank, (rows, self.copied))
        place = length - self.copied - 1  # of the copy sign
        inputs = np.full((rows, length), blank)
        np.put_along_axis(inputs, np.sort(distinct(random, place, (rows, self.copied)), axis=1), symbols, 1)
        inputs[:, place] = copy
        targets = np.full((rows, length), NOT_SCORED)
        targets[:, place + 1 :] = symbols
        return inputs, targets

    def check(self, length: int) -> None:
        require(length, 2 * self.copied + 1, f"data.copied={self.copied} symbols, the copy sign and as many answers")
