"""Memorization (Poli et al. 2024, MAD): facts that are in no sequence, only in the weights.

    a ? c ? b ? a ?      at each ?: the value that the key before it always has

MAD's settings: batch.context=32, vocabulary 256, the map drawn with seed 12345.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, require


class Memorization(Generator):
    """Random keys, each followed by a question; the answer to a key is the same in every sequence of every split.

    The last symbol of the vocabulary is the question. Keys are the lower half of the others, values the upper; no two
    keys have the same value.

    Args:
        vocabulary: number of symbols, the question included.
        map_seed: seed of the map from keys to values, independent of the seed of the run.

    Raises:
        UserError: fewer than two keys, or a negative seed.
    """

    name = "memorization"

    def __init__(self, vocabulary: int = 256, map_seed: int = 12345, longer: int | None = 4) -> None:
        super().__init__(longer)
        at_least("vocabulary", vocabulary, 5, "two keys, two values and the question")
        at_least("map_seed", map_seed, 0, "seeds are not negative")
        self.vocabulary = vocabulary
        keys, ordinary = (vocabulary - 1) // 2, vocabulary - 1
        self.values = keys + np.random.default_rng(map_seed).permutation(ordinary - keys)[:keys]  # of each key

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        keys = random.integers(0, len(self.values), (rows, length // 2))
        inputs = np.full((rows, length), self.vocabulary - 1)
        targets = np.full((rows, length), NOT_SCORED)
        even = 2 * (length // 2)
        inputs[:, :even:2] = keys
        targets[:, 1:even:2] = self.values[keys]
        return inputs, targets

    def check(self, length: int) -> None:
        require(length, 2, "a key and its question")
