"""The base class of filters that decide from one document whether it stays."""

from abc import ABC, abstractmethod

BEGINNING = 1 << 14
"""Characters at the beginning of a document that a filter sees; longer documents are not held in memory."""


class Filter(ABC):
    """A condition on a document.

    Attributes:
        name: the name under which removed documents are counted: that of its option.
    """

    name: str

    @abstractmethod
    def keeps(self, beginning: str, characters: int) -> bool:
        """Return whether a document stays.

        Args:
            beginning: its first :data:`BEGINNING` characters.
            characters: the number of all its characters.
        """
