"""Compression (Poli et al. 2024, MAD): a whole sequence gathered in one place.

    a c b b : : : :      at the signs : a, c, b, b

MAD's settings: vocabulary 16 and 31 symbols before the sign (batch.context=62). There a memoryless network
recovers all symbols from the hidden vector at the sign. Here the model itself answers, at consecutive signs: a
recurrence answers from its state, as in MAD, while attention can still look at the sequence.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, require


class Compression(Generator):
    """Random symbols that fill half of the sequence, then as many signs, at which they are recalled in order.

    The last symbol of the vocabulary is the sign. Answers are not fed back.

    Args:
        vocabulary: number of symbols, the sign included.

    Raises:
        UserError: fewer than two symbols besides the sign.
    """

    name = "compression"

    def __init__(self, vocabulary: int = 16, longer: int | None = 4) -> None:
        super().__init__(longer)
        at_least("vocabulary", vocabulary, 3, "two symbols and the sign")
        self.vocabulary = vocabulary

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        size = length // 2
        inputs = np.full((rows, length), self.vocabulary - 1)
        targets = np.full((rows, length), NOT_SCORED)
        symbols = random.integers(0, self.vocabulary - 1, (rows, size))
        inputs[:, :size] = targets[:, size : 2 * size] = symbols
        return inputs, targets

    def check(self, length: int) -> None:
        require(length, 2, "a symbol and the sign")
