"""Incremental decoding of tokens: each character when it is complete, up to a stop string."""

from collections.abc import Callable, Sequence

import numpy as np

from lmlab.data.tokenizers import Tokenizer

CONTEXT = 16
"""Number of tokens before a new one that can affect its text: the bytes of a character, the word before it."""

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""The replacement character: incomplete and invalid UTF-8 decodes to it."""


class TextStream:
    """Turns tokens into text as they come, holding back a character until all of its bytes are there.

    Args:
        prompt: the tokens before them. A space between two words may be part of neither, so a token is decoded
            together with some that precede it.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = [*prompt[-CONTEXT:]]
        self._written = len(self._decode())

    def add(self, *tokens: int) -> str:
        """Return the text that ``tokens``, the next ones, complete."""
        self._tokens += tokens
        text = self._decode()
        complete = len(text) - text.endswith(_INCOMPLETE)
        new = text[self._written : complete]
        if len(self._tokens) > 2 * CONTEXT:  # old tokens are not needed any more
            del self._tokens[:-CONTEXT]
            text = self._decode()
            complete = len(text) - text.endswith(_INCOMPLETE)
        self._written = complete
        return new

    def rest(self) -> str:
        """Return the text that was held back, after the last token."""
        return self._decode()[self._written :]

    def _decode(self) -> str:
        return self._tokenizer.decode(np.array(self._tokens, np.int64))


class StopStrings:
    """Ends a text before the first of some strings in it, holding back text that may be the beginning of one.

    The string that is complete first counts; of several that end together, the longest. So the result does not depend
    on the parts in which the text comes.

    Args:
        strings: of at least one character each; without any, no text ends.
    """

    def __init__(self, strings: Sequence[str] = ()) -> None:
        self.strings = strings
        self.reached = False
        self._held = ""

    def add(self, text: str) -> str:
        """Return the text that is final after adding ``text``; nothing more once a string was ``reached``."""
        if self.reached:
            return ""
        text = self._held + text
        starts = ((text.find(string), string) for string in self.strings)
        if ends := [(start + len(string), start) for start, string in starts if start >= 0]:
            self.reached, self._held = True, ""
            return text[: min(ends)[1]]
        longest = max(map(len, self.strings), default=0)
        places = range(max(0, len(text) - longest + 1), len(text))
        begun = next((start for start in places if self._may_begin(text[start:])), len(text))
        self._held = text[begun:]
        return text[:begun]

    def rest(self) -> str:
        """Return the text that was held back, after the last part."""
        return self._held

    def _may_begin(self, text: str) -> bool:
        """Return whether one of the strings begins with ``text``."""
        return any(string.startswith(text) for string in self.strings)


def stop_at(
    strings: Sequence[str], tokenizer: Tokenizer, prompt: Sequence[int]
) -> Callable[[Sequence[int]], bool] | None:
    """Return a function that tells whether the last of the tokens after ``prompt`` completes one of ``strings``.

    The function depends on its argument alone, so the hypotheses of a beam search can share it. It decodes no more of
    the last tokens than the strings may have. Without strings, ``None`` is returned.
    """
    if not strings:
        return None
    reach = CONTEXT + 4 * max(map(len, strings))  # a token may be a single byte

    def completes(tokens: Sequence[int]) -> bool:
        before = [*prompt[-CONTEXT:], *tokens[:-reach][-CONTEXT:]]
        stop = StopStrings(strings)
        stop.add(TextStream(tokenizer, before).add(*tokens[-reach:]))
        return stop.reached

    return completes
