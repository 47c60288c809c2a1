"""Copying a string at once (Jelassi et al. 2024, "Repeat after me") or after a wait (Arjovsky et al. 2016).

    b a c > b a c . .        at once: after >: b, after the second b: a, ... and after c the end sign .
    b a c . . . . > . . .    delayed: at the dots after >: b, a, c

Jelassi et al. copy strings of an alphabet of 26, of lengths drawn at random (up to 300). Arjovsky et al. copy 10
symbols of 8, ``delayed``, after a wait of 100 to 500 (batch.context = wait + 20).
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, at_least, require


class Copying(Generator):
    """A random string, to be repeated after a copy sign.

    The alphabet's symbols are followed by the copy sign and by a symbol that marks the end and pads the sequence.
    Immediate copies are fed back, as in a language model, and their end is scored; delayed copies are not fed back.

    Args:
        alphabet: number of symbols in strings.
        copied: symbols in a string; ``None``: drawn for each sequence, from 1 to as many as fit. A fixed number stays
            the same in longer sequences.
        delayed: fill the sequence with a wait between the string and the copy sign.

    Raises:
        UserError: an option leaves nothing to copy.
    """

    name = "copying"

    def __init__(
        self, alphabet: int = 26, copied: int | None = None, delayed: bool = False, longer: int | None = 4
    ) -> None:
        super().__init__(longer)
        at_least("alphabet", alphabet, 2, "strings differ")
        if copied is not None:
            at_least("copied", copied, 1, "a sequence has something to copy")
        self.vocabulary = alphabet + 2
        self.alphabet, self.copied, self.delayed = alphabet, copied, delayed

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        copy, end = self.alphabet, self.alphabet + 1
        most = (length - 1) // 2 if self.copied is None else self.copied
        sizes = random.integers(1 if self.copied is None else most, most + 1, (rows, 1))
        strings = random.integers(0, self.alphabet, (rows, most))
        at = np.arange(length)
        places = length - sizes - 1 if self.delayed else sizes  # of the copy sign
        copied = np.take_along_axis(strings, np.clip(at - places - 1, 0, most - 1), 1)
        repeats = (at > places) & (at <= places + sizes)
        inputs = np.where(at < sizes, strings[:, np.minimum(at, most - 1)], end)
        inputs[at == places] = copy
        targets = np.full((rows, length), NOT_SCORED)
        if self.delayed:
            targets[repeats] = copied[repeats]
        else:
            inputs[repeats] = copied[repeats]
            scored = (at >= places) & (at <= places + sizes)
            targets[scored] = np.append(inputs[:, 1:], np.full((rows, 1), end), 1)[scored]
        return inputs, targets

    def check(self, length: int) -> None:
        size = 1 if self.copied is None else self.copied
        require(length, 2 * size + 1, f"a string of {size}, the copy sign and the copy")
