"""Reversing a string (Deletang et al. 2022, "Neural networks and the Chomsky hierarchy", task Reverse String).

    a b b a a = = = = = .        at the signs =: a, a, b, b, a

The paper's settings: an alphabet of 2, lengths drawn from 1 to 40 (batch.context=80), tested at up to 500.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, require


class Reversal(Generator):
    """A random string, to be reversed; its length is drawn for each sequence, from 1 to half of the sequence.

    As in the paper, answers are not fed back: the positions of the answers hold one more symbol, which also pads the
    sequence.

    Args:
        alphabet: number of symbols in strings.

    Raises:
        UserError: fewer than two symbols.
    """

    name = "reversal"

    def __init__(self, alphabet: int = 2, longer: int | None = 4) -> None:
        super().__init__(longer)
        at_least("alphabet", alphabet, 2, "strings differ")
        self.alphabet, self.vocabulary = alphabet, alphabet + 1

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        sizes = random.integers(1, length // 2 + 1, (rows, 1))
        at = np.arange(length)
        inputs = random.integers(0, self.alphabet, (rows, length))
        inputs[at >= sizes] = self.alphabet
        answers = np.take_along_axis(inputs, np.clip(2 * sizes - 1 - at, 0, length - 1), 1)
        return inputs, np.where((at >= sizes) & (at < 2 * sizes), answers, NOT_SCORED)

    def check(self, length: int) -> None:
        require(length, 2, "a string of 1 and its answer")
