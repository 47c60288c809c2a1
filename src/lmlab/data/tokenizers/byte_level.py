"""Bytes as visible characters, in which the ``tokenizers`` library and GPT-2 write types that need not be a text."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import pre_tokenizers

_BYTES = 256
_LONGEST_SEGMENT = 512  # bytes: the time to find types grows faster than the length of a segment


@cache
def bytes_of_symbols() -> dict[str, int]:
    """Return the byte for each symbol of the alphabet.

    Visible characters of Latin-1 stand for their own byte; the signs after Latin-1 for the other bytes in turn.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = sorted(set(range(_BYTES)) - set(visible))
    return {chr(byte): byte for byte in visible} | {chr(_BYTES + n): byte for n, byte in enumerate(others)}


def segments() -> "pre_tokenizers.PreTokenizer":
    """Return GPT-2's segmentation of a text into words of these symbols, divided after every 512."""
    from tokenizers import pre_tokenizers

    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([words, pre_tokenizers.FixedLength(_LONGEST_SEGMENT)])
