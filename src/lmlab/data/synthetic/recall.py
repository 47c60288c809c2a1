"""Multi-query associative recall (Arora et al. 2023, "Zoology", section 3 and appendix).

    k1 v1 k2 v2 ... 0 0 k2 0 k1 0 ...      after the second k2: v2, after the second k1: v1

Settings of the paper's figure 2 with a vocabulary of 8,192 and ``filling: zero``: (batch.context, pairs) = (64, 4),
(128, 8), (256, 16). The authors' code fills with random symbols by default, which is harder.
"""

from typing import Literal

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, distinct, require
from lmlab.errors import UserError


class MultiQueryRecall(Generator):
    """Key-value pairs, then each key once more, at which its value is predicted.

    Keys are drawn from the symbols 1 to vocabulary / 2 - 1, values from the upper half; no two keys of a sequence are
    the same, and no two values. Queries are at even distances after the pairs. The i-th slot is drawn with weight
    i ** (power_a - 1), as words of a text come back sooner rather than later. Longer sequences have no more pairs, but
    more between them and their queries.

    Args:
        vocabulary: number of symbols.
        pairs: key-value pairs in a sequence; each is queried once.
        power_a: exponent of the distribution of the gaps; 1: uniform.
        filling: symbols between queries: ``random`` ones, or ``zero``.

    Raises:
        UserError: the vocabulary has too few keys, or an option is not positive.
    """

    name = "recall"

    def __init__(
        self,
        vocabulary: int = 8192,
        pairs: int = 4,
        power_a: float = 0.01,
        filling: Literal["random", "zero"] = "random",
        longer: int | None = 4,
    ) -> None:
        super().__init__(longer)
        at_least("pairs", pairs, 1, "a sequence has something to recall")
        at_least("vocabulary", vocabulary, 2 * pairs + 2, f"{pairs} keys below its half, 0 aside, and {pairs} values")
        if power_a <= 0:
            raise UserError(f"data.power_a={power_a}: expected more than 0 (0.01 as in the paper, 1 for uniform gaps)")
        self.vocabulary, self.pairs, self.power_a, self.filling = vocabulary, pairs, power_a, filling

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        half, context = self.vocabulary // 2, 2 * self.pairs
        keys = 1 + distinct(random, half - 1, (rows, self.pairs))
        values = half + distinct(random, self.vocabulary - half, (rows, self.pairs))
        slots = (length - context) // 2
        weights = np.arange(1, slots + 1) ** (self.power_a - 1)
        # The smallest of exponential variables of these rates are a weighted draw without replacement.
        order = np.argsort(random.exponential(size=(rows, slots)) / weights, axis=1)[:, : self.pairs]
        queries = context + 2 * order

        if self.filling == "random":
            inputs = random.integers(0, self.vocabulary, (rows, length))
        else:
            inputs = np.zeros((rows, length), np.int64)
        inputs[:, 0:context:2], inputs[:, 1:context:2] = keys, values
        np.put_along_axis(inputs, queries, keys, 1)
        targets = np.full((rows, length), NOT_SCORED)
        np.put_along_axis(targets, queries, values, 1)
        return inputs, targets

    def check(self, length: int) -> None:
        require(length, 4 * self.pairs, f"data.pairs={self.pairs} and a query of each")
