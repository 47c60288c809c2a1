"""Brackets nested to a bounded depth: Dyck-(k, m) (Hewitt et al. 2020; Yao et al. 2021).

    ( [ ] [ ( ) ] ) [      after the first [: ], after the second (: ), ...

Settings: k = 2, 8, 32 or 128 with m = 3 or 5 (Hewitt et al.), k = 8 with m = 10 (Yao et al.).
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, require


class Dyck(Generator):
    """Properly nested brackets of several kinds; every closing bracket is predicted.

    Positions whose next symbol closes are scored: the kind that closes follows from the open brackets, while whether
    one closes is random. (The papers have the probability of the right closing bracket among all closing ones.)
    Brackets open and close with equal probability, as in the authors' code, but for the first, which opens, and the one
    at the greatest depth, which closes; kinds are equally likely. A sequence is the beginning of an endless one: where
    the papers may stop, when all is closed, the next bracket opens. Kind i opens as symbol i and closes as k + i.

    Args:
        kinds: k.
        depth: m, largest number of open brackets.

    Raises:
        UserError: fewer than two kinds, or no depth.
    """

    name = "dyck"

    def __init__(self, kinds: int = 8, depth: int = 10, longer: int | None = 4) -> None:
        super().__init__(longer)
        at_least("kinds", kinds, 2, "there is a kind to be told")
        at_least("depth", depth, 1, "a bracket can open")
        self.kinds, self.depth, self.vocabulary = kinds, depth, 2 * kinds

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        heads = random.random((length + 1, rows)) < 0.5
        kinds = random.integers(0, self.kinds, (length + 1, rows))
        symbols = kinds.copy()
        opened = np.zeros((self.depth + 1, rows), np.int64)  # kind of the bracket that is open at each depth
        depth, row = np.zeros(rows, np.int64), np.arange(rows)
        for at in range(length + 1):
            opens = (heads[at] | (depth == 0)) & (depth < self.depth)
            closing = self.kinds + opened[depth, row]
            depth += 2 * opens - 1
            symbols[at] = np.where(opens, kinds[at], closing)
            # The entry at a depth that has just closed is still the bracket that was open there.
            opened[depth, row] = np.where(opens, kinds[at], opened[depth, row])
        following = symbols[1:].T
        targets = np.where(following >= self.kinds, following, NOT_SCORED)
        return np.ascontiguousarray(symbols[:-1].T), targets

    def check(self, length: int) -> None:
        require(length, self.depth, f"data.depth={self.depth} brackets, after which the next one closes")
