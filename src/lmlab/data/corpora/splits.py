"""Assignment of documents to splits by a hash, which further documents do not change."""


def place_of(sha256: str) -> float:
    """Return the place of a SHA-256, in hexadecimal, among all: its first 8 bytes as a number in [0, 1)."""
    return int(sha256[:16], 16) / 2**64
