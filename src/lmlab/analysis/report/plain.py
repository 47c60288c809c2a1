"""Texts that runs have written, made safe to show anywhere: nothing in them is invisible, and none is endless."""

import re

SHOWN = 2_000  # characters of a long text that are shown at once: about a page
COPIED = 20_000  # of a command, which has to be copied whole

# Control characters other than tab and newline, halves of surrogate pairs, and the marks that change the direction of
# what follows them: with those, a sample could make a report read differently from what it says.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with every invisible character written out: the picture of a control character, or its code point."""
    return _INVISIBLE.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def clipped(text: str, length: int = SHOWN) -> tuple[str, str]:
    """``visible(text)``, cut into what is shown at once and the rest, which is empty for most."""
    text = visible(text)
    return (text, "") if len(text) <= length * 1.1 else (text[:length], text[length:])
