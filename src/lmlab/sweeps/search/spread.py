"""Random numbers that are spread evenly: the draws of a random search.

Independent draws leave gaps: of three, two lie in the same tenth of the range in 28 % of all searches. A scrambled
sequence (Owen 1995, "Randomly permuted (t,m,s)-nets and (t,s)-sequences"; here base 3, one dimension) has one number in
each third after three draws, one in each ninth after nine, and so on. Several of them, scrambled independently of each
other, make a Latin hypercube sample (McKay, Beckman & Conover 1979): options are not correlated.
"""

import hashlib
from itertools import permutations

_ORDERS = tuple(permutations(range(3)))
_LEVELS = 12
"""Of so many nested thirds each is hit before any other is hit twice: half a million numbers."""

_MANY = 1000
"""A list of more values than this is longer than any search: its values need not be drawn equally often."""


def spread(stream: str, number: int) -> float:
    """Return number ``number`` of a sequence in [0, 1), of which every 3^k from a multiple of 3^k on fill 3^k strata.

    Args:
        stream: names the sequence; those of two names are unrelated.
    """
    share, width, path = 0.0, 1.0, ""
    for level in range(_LEVELS):
        block, place = divmod(number // 3**level, 3)
        # The three parts of a block of 3^(level + 1) numbers take the thirds of any one stratum in some order.
        digit = _ORDERS[_hash(f"{stream},{level},{block},{path}") % 6][place]
        width /= 3
        share += digit * width
        path += str(digit)
    return share + width * (_hash(f"{stream},{number}") >> 11) / 2**53


def balanced(stream: str, number: int, values: int) -> float:
    """Return number ``number`` of a sequence in (0, 1) that falls on each of ``values`` equal parts equally often.

    Every ``values`` numbers fall on each part once, in an order that is spread as well as can be.
    """
    if values > _MANY:
        return spread(stream, number)
    block, place = divmod(number, values)
    shares = [spread(f"{stream},{block}", other) for other in range(values)]
    rank = sum(share < shares[place] for share in shares)
    return (rank + 0.5) / values


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
