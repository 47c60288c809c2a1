"""In-context recall, plain and noisy (Poli et al. 2024, "Mechanistic design and scaling of hybrid architectures": MAD).

    a x b y a x c z b      after the second a: x, after the second b: y

MAD's settings: batch.context=128, vocabulary 16; noisy: vocabulary 32, 16 of them noise, and a share of 0.2 of
noise. MAD trains on every next symbol and tests the answers; here training too scores the answers only.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, first_occurrences, require
from lmlab.errors import UserError


class InContextRecall(Generator):
    """Pairs of a key and its value, fixed within a sequence; whenever a key recurs, its value is predicted.

    Keys and values are the lower and the upper half of the symbols that are not noise. Keys are drawn uniformly, the
    last among those of the sequence, so that each has an answer. Noise comes two symbols at a time, in a pair's place.
    Two keys may have the same value.

    Args:
        vocabulary: number of symbols, noise included.
        noise_vocabulary: how many of them, the last, are noise.
        noise: share of pairs that are noise.

    Raises:
        UserError: too few symbols, or a share that is not in [0, 1).
    """

    name = "in_context_recall"

    def __init__(
        self, vocabulary: int = 16, noise_vocabulary: int = 0, noise: float = 0.0, longer: int | None = 4
    ) -> None:
        super().__init__(longer)
        if not 0 <= noise < 1:
            raise UserError(f"data.noise={noise}: expected a share from 0 to below 1")
        at_least("noise_vocabulary", noise_vocabulary, 1 if noise else 0, "symbols that are noise")
        at_least("vocabulary", vocabulary, noise_vocabulary + 4, "two keys, two values and the noise")
        self.vocabulary, self.noise_vocabulary, self.noise = vocabulary, noise_vocabulary, noise
        self.name = "noisy_in_context_recall" if noise else type(self).name

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        ordinary = self.vocabulary - self.noise_vocabulary
        half, pairs, row = ordinary // 2, (length + 1) // 2, np.arange(rows)
        keys = random.integers(0, half, (rows, pairs))
        noisy = random.random((rows, pairs)) < self.noise
        signal = random.integers(0, pairs - 1, rows)
        noisy[row, signal] = noisy[:, -1] = False
        # A random pair that is neither noise nor the last one: the one with the greatest random number.
        source = np.argmax(np.where(noisy, -1.0, random.random((rows, pairs)))[:, :-1], axis=1)
        keys[:, -1] = keys[row, source]
        values = np.take_along_axis(random.integers(half, ordinary, (rows, half)), keys, 1)
        if self.noise:
            for symbols in (keys, values):
                symbols[noisy] = random.integers(ordinary, self.vocabulary, np.count_nonzero(noisy))
        repeats = (first_occurrences(keys) < np.arange(pairs)) & ~noisy

        inputs = np.stack([keys, values], axis=2).reshape(rows, -1)[:, :length]
        targets = np.full((rows, length), NOT_SCORED)
        targets[:, ::2] = np.where(repeats, values, NOT_SCORED)
        return np.ascontiguousarray(inputs), targets

    def check(self, length: int) -> None:
        require(length, 3, "a pair and its key again")
