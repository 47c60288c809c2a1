"""Assignment of documents to splits by a hash, which further documents do not change."""

import hashlib
from collections.abc import Callable, Iterable
from math import nextafter

import numpy as np

Bounds = tuple[float, float]
"""The places at which the validation split and the test split end; the training split is above."""


def place_of(sha256: str) -> float:
    """Return the place of a SHA-256, in hexadecimal, among all: its first 8 bytes as a number in [0, 1)."""
    return int(sha256[:16], 16) / 2**64


def place_in(text: str) -> float:
    """Return the place of the SHA-256 of a text among all."""
    return place_of(hashlib.sha256(text.encode()).hexdigest())


def split_at(place: float, bounds: Bounds) -> str:
    """Return the split of a document by the place of its hash."""
    return "validation" if place < bounds[0] else "test" if place < bounds[1] else "train"


def widened(bounds: Bounds, places: Callable[[], Iterable[float]]) -> Bounds:
    """Return bounds by which each held-out split with a share has a document, that of the nearest hash if need be.

    Args:
        places: returns the places of all documents.
    """

    def end(lower: float, upper: float) -> float:
        lowest = min((place for place in places() if place >= lower), default=lower)
        return max(upper, nextafter(lowest, 1.0))

    validation = end(0.0, bounds[0])
    return validation, end(validation, bounds[1]) if bounds[1] > bounds[0] else validation


def splits_at(places_N: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Return the splits [N] of documents by the places [N] of their hashes."""
    return np.select([places_N < bounds[0], places_N < bounds[1]], ["validation", "test"], "train")
