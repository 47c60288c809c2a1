"""Replacement of e-mail addresses, IP addresses and telephone numbers by placeholders.

As in FineWeb (Penedo et al. 2024, section 3.5), IP addresses are replaced only if they are valid and public.
Telephone numbers are recognised conservatively: with ``+`` and 9 to 15 digits (ITU-T E.164), or in the North American
form 555-123-4567, 1-555-123-4567 or (555) 123-4567; with points instead, as 555.234.5678, only if both groups of three
digits begin with 2 to 9.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

_LONGEST = 1024
"""Limit of the length of a match, with the text behind it that a pattern looks at."""
_BEFORE = 16
"""Limit of the text before a match that a pattern looks at."""

_LETTERS = "A-Za-zÀ-ÖØ-öø-ɏ"
_EMAIL = re.compile(
    rf"(?<![{_LETTERS}0-9_%+])[{_LETTERS}0-9_](?:[{_LETTERS}0-9._%+'-]{{0,62}}[{_LETTERS}0-9_+-])?"
    rf"@(?:[{_LETTERS}0-9](?:[{_LETTERS}0-9-]{{0,61}}[{_LETTERS}0-9])?\.){{1,8}}[{_LETTERS}]{{2,24}}(?![{_LETTERS}0-9])"
)
_IP = re.compile(
    r"(?<![\w.])(?<!ersion )(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])"
    r"|(?<![\w:.])[23][0-9A-Fa-f]{3}(?::{1,2}[0-9A-Fa-f]{1,4}){1,7}(?:::)?(?!\w|:\w)"
)
_PHONE = re.compile(
    r"(?<![\w+.,])\+[1-9](?:[ .\-/\u00a0]?[()]?[ ]?[0-9]){8,14}(?!\w|[.,][0-9])"
    r"|(?<![\w+.,/\-])(?:1[ .\-])?(?:\([0-9]{3}\) ?[0-9]{3}-|[0-9]{3}-[0-9]{3}-|[2-9][0-9]{2}\.[2-9][0-9]{2}\.)"
    r"[0-9]{4}(?!\w|[.,/\-][0-9])"
)


def _is_public(text: str) -> bool:
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


def _is_no_decimal(text: str) -> bool:
    """Return false for a number like +3.14159265."""
    return re.fullmatch(r"\+[0-9]+\.[0-9]+", text) is None


def _is_any(text: str) -> bool:
    return True


@dataclass(frozen=True)
class Scrubber:
    """Replacement of one kind of personal data.

    Attributes:
        placeholder: the text that replaces it.
        pattern: a regular expression whose matches are shorter than 1,000 characters.
        accepts: whether a match is replaced.
    """

    placeholder: str
    pattern: re.Pattern[str]
    accepts: Callable[[str], bool] = _is_any

    def scrub(self, chunks: Iterable[str], count: Callable[[], None]) -> Iterator[str]:
        """Yield the text with placeholders; their concatenation does not depend on the division of the input.

        Args:
            count: called at each replacement.
        """
        text, first = "", 0  # the text from ``first`` on has not been yielded
        for chunk in chunks:
            text, first = text[max(0, first - _BEFORE) :] + chunk, min(first, _BEFORE)
            done, first = self._scrub(text, first, len(text) - _LONGEST, count)
            if done:
                yield done
        done, _ = self._scrub(text, first, len(text), count)
        if done:
            yield done

    def _scrub(self, text: str, first: int, end: int, count: Callable[[], None]) -> tuple[str, int]:
        """Return the text from ``first`` to about ``end`` with placeholders, and the index from which the rest starts.

        A match that begins before ``end`` is replaced as a whole.
        """
        parts, place = [], first
        for match in self.pattern.finditer(text, first):
            if match.start() >= end:
                break
            accepted = self.accepts(match[0])
            if accepted:
                count()
            parts += [text[place : match.start()], self.placeholder if accepted else match[0]]
            place = match.end()
        rest = max(place, end)
        return "".join([*parts, text[place:rest]]), rest


SCRUBBERS = {
    "email": Scrubber("<email>", _EMAIL),
    "ip": Scrubber("<ip>", _IP, _is_public),
    "phone": Scrubber("<phone>", _PHONE, _is_no_decimal),
}
"""The kinds of personal data by name, in the order in which they are replaced."""
