"""Induction heads (Olsson et al. 2022), in the form of Gu and Dao 2023, "Mamba", section 4.1.2.

    c a ! b d a c !      after the second !: b

Mamba's settings: batch.context=256, vocabulary 16, tested at up to 4,000 times that length.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, require


class InductionHeads(Generator):
    """Random symbols with a special one, which recurs at the end: the symbol after its first occurrence is predicted.

    The last symbol of the vocabulary is the special one.

    Args:
        vocabulary: number of symbols, the special one included.

    Raises:
        UserError: fewer than two ordinary symbols.
    """

    name = "induction_heads"

    def __init__(self, vocabulary: int = 16, longer: int | None = 4) -> None:
        super().__init__(longer)
        at_least("vocabulary", vocabulary, 3, "two symbols and the special one")
        self.vocabulary = vocabulary

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        special = self.vocabulary - 1
        inputs = random.integers(0, special, (rows, length))
        place = random.integers(0, length - 2, rows)
        row = np.arange(rows)
        inputs[row, place] = inputs[:, -1] = special
        targets = np.full((rows, length), NOT_SCORED)
        targets[:, -1] = inputs[row, place + 1]
        return inputs, targets

    def check(self, length: int) -> None:
        require(length, 3, "the special symbol, the symbol after it and the special symbol again")
