"""Fuzzy in-context recall (Poli et al. 2024, MAD): keys and values of several symbols.

    ab xyz c y ab xyz ca x      after the second ab: x, then y, then z

MAD's settings: batch.context=128, vocabulary 16, keys and values of 1 to 3 symbols. MAD trains on every next symbol and
tests the answers to keys of the greatest size; here the same sequences train and test, and only answers are scored.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, distinct, first_occurrences, require


class FuzzyInContextRecall(Generator):
    """In-context recall of keys and values of several different symbols, with random sizes.

    The last symbol of the vocabulary is padding; the others are keys in their lower half and values in their upper one.
    The symbols of a value are scored one after the other wherever its key has come before. The last pair repeats one of
    the sequence, so that each has an answer; padding follows it.

    Args:
        vocabulary: number of symbols, the padding included.
        key_size: symbols in a key at most.
        value_size: symbols in a value at most.

    Raises:
        UserError: too few symbols for keys or values of this size.
    """

    name = "fuzzy_in_context_recall"

    def __init__(self, vocabulary: int = 16, key_size: int = 3, value_size: int = 3, longer: int | None = 4) -> None:
        super().__init__(longer)
        at_least("key_size", key_size, 1, "symbols")
        at_least("value_size", value_size, 1, "symbols")
        least = 2 * max(key_size, value_size, 2) + 1
        at_least("vocabulary", vocabulary, least, "keys and values of different symbols, and the padding")
        self.vocabulary, self.key_size, self.value_size = vocabulary, key_size, value_size

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        padding, half, row = self.vocabulary - 1, (self.vocabulary - 1) // 2, np.arange(rows)[:, None]
        both = self.key_size + self.value_size
        pairs = (length - both) // 2  # the largest possible number, without the last pair
        keys = distinct(random, half, (rows, pairs, self.key_size))
        values = half + distinct(random, padding - half, (rows, pairs, self.value_size))
        key_sizes = random.integers(1, self.key_size + 1, (rows, pairs))
        value_sizes = random.integers(1, self.value_size + 1, (rows, pairs))
        # A key as one number; symbols after its end do not count.
        digits = np.where(np.arange(self.key_size) < key_sizes[..., None], keys + 1, 0)
        first = first_occurrences(digits @ (half + 1) ** np.arange(self.key_size))
        value_sizes = value_sizes[row, first]
        sizes = key_sizes + value_sizes
        count = np.count_nonzero(np.cumsum(sizes, axis=1) <= length - both, axis=1)[:, None]
        last = random.integers(0, count)

        # Slots in the order of the sequence: the pairs that fit, the last pair, padding; from which pair is each?
        slots = np.arange(pairs + 2)
        pair = np.where(slots < count, np.minimum(slots, pairs - 1), last)
        widths = np.where(slots <= count, sizes[row, pair], 0)
        widths[:, -1] = length - widths.sum(1)
        begins = np.cumsum(widths, axis=1) - widths
        slot = np.repeat(np.broadcast_to(slots, (rows, pairs + 2)), widths.ravel()).reshape(rows, length)
        pair, place = pair[row, slot], np.arange(length) - begins[row, slot]
        in_value = (after := place - key_sizes[row, pair]) >= 0
        key = keys[row, pair, np.minimum(place, self.key_size - 1)]
        value = values[row, origin := first[row, pair], np.clip(after, 0, self.value_size - 1)]
        padded = slot == pairs + 1
        inputs = np.where(padded, padding, np.where(in_value, value, key))
        scored = in_value & (origin < slot) & ~padded
        targets = np.full((rows, length), NOT_SCORED)
        targets[:, :-1] = np.where(scored, inputs, NOT_SCORED)[:, 1:]
        return inputs, targets

    def check(self, length: int) -> None:
        both = self.key_size + self.value_size
        require(length, 2 * both, f"a pair of up to {both} symbols, twice")
