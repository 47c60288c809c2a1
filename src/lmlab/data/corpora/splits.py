"""Assignment of documents to splits by a hash, which further documents do not change."""

import numpy as np


def place_of(sha256: str) -> float:
    """Return the place of a SHA-256, in hexadecimal, among all: its first 8 bytes as a number in [0, 1)."""
    return int(sha256[:16], 16) / 2**64


def splits_at(places: np.ndarray, validation: float, held_out: float) -> np.ndarray:
    """Return the names of the splits of documents at ``places``.

    Args:
        validation: the end of the places of the validation split, which begin at 0.
        held_out: the end of those of the test split, which follow.
    """
    return np.select([places < validation, places < held_out], ["validation", "test"], "train")
