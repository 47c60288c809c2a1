"""Filters by the length of a document."""

from lmlab.data.cleaning.filter import Filter


class MinLength(Filter):
    """Keeps documents of at least ``least`` characters."""

    name = "min_length"

    def __init__(self, least: int) -> None:
        self.least = least

    def keeps(self, beginning: str, characters: int) -> bool:
        return characters >= self.least


class MaxLength(Filter):
    """Keeps documents of at most ``most`` characters."""

    name = "max_length"

    def __init__(self, most: int) -> None:
        self.most = most

    def keeps(self, beginning: str, characters: int) -> bool:
        return characters <= self.most
