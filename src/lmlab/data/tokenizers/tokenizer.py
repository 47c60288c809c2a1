"""The base class of tokenizers: fitted, saved and fingerprinted maps between text and token ids."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.errors import UserError

_FILE = "tokenizer.json"


class Tokenizer(ABC):
    """Maps text to ids in [0, size) and back.

    A new tokenizer is one file: a direct subclass with the abstract methods below. Its output depends
    only on ``state()``, which is plain JSON: loading a tokenizer runs no code from the file.
    """

    unit = "token"
    """The unit of text that one token stands for, in messages."""
    fitted_to_sample = False
    """Fit to an even sample of a large text, because the memory for fitting grows with the text."""

    @property
    @abstractmethod
    def fitted(self) -> bool:
        """Return whether there is a vocabulary, which the members below need."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of types."""

    @property
    def reversible(self) -> bool:
        """Return whether any text decodes to itself from its tokens."""
        return True

    @property
    @abstractmethod
    def separator(self) -> int:
        """Return the id before every document: the context of a text's first token. It decodes to a line end."""

    @property
    def end_of_document(self) -> int | None:
        """Return the separator, if it only marks the end of a document; ``None``: texts contain it too."""
        return None

    def check(self) -> None:  # noqa: B027
        """Refuse options that name an unsuitable file, before the text is read. Raises ``UserError``."""

    def checksum(self) -> str | None:
        """Return a checksum of the user's own files, independent of their location; ``None`` if it reads none.

        Raises:
            UserError: a file is missing.
        """
        return None

    @abstractmethod
    def fit(self, documents: Iterable[str]) -> None:
        """Choose the vocabulary from the documents of the training split, or :meth:`pieces` of them.

        Raises:
            UserError: they do not support the requested vocabulary.
        """

    @abstractmethod
    def encode(self, document: str) -> np.ndarray:
        """Return the ids [N] int32 of a text."""

    def encode_prompt(self, prompt: str) -> np.ndarray:
        """Return the ids [N] int32 of a text that continues: without an end that ``encode`` might append."""
        return self.encode(prompt)

    @abstractmethod
    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ids [N]."""

    def types(self) -> list[bytes]:
        """Return the bytes that each type stands for, by id; no bytes for a type that no text has.

        Override it if a type need not be a text by itself.
        """
        return [self.decode(np.array([id])).encode() for id in range(self.size)]

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the options and, when fitted, the vocabulary as plain JSON values."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> "Tokenizer":
        """Return the tokenizer whose :meth:`state` was ``state``."""

    def encode_all(self, documents: Iterable[str]) -> Iterator[np.ndarray]:
        """Yield the ids of each document or piece, in order; override it if several at a time are faster."""
        return map(self.encode, documents)

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield a document, which comes in chunks cut anywhere, in pieces whose ids join to those of the whole.

        By default it is one piece. Override it so that a long document need not be in memory as a whole.
        """
        if document := "".join(chunks):
            yield document

    def outside(self, document: str) -> list[str]:
        """Return the parts of a text that are outside the vocabulary, in order, as often as they occur.

        Each is read as one token, which has a lower loss than the text it replaces.
        """
        return []

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of class and state."""
        return hashlib.sha256(self._json().encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` into an existing folder."""
        (folder / _FILE).write_text(self._json() + "\n", encoding="utf-8")

    def _json(self) -> str:
        return json.dumps({"class": type(self).__name__, **self.state()}, sort_keys=True, ensure_ascii=False)


def load_tokenizer(folder: Path, kind: type[Tokenizer]) -> Tokenizer:
    """Return the tokenizer of class ``kind`` that was saved in ``folder``.

    Raises:
        UserError: the file is missing, unreadable, or of another class.
    """
    path = folder / _FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        name = state.pop("class")
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no {_FILE}") from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a saved tokenizer ({error})") from error
    if name != kind.__name__:
        raise UserError(f"{path}: holds a tokenizer of class {name}, not {kind.__name__}")
    return kind.from_state(state)


_NAMED = 5
"""Number of parts outside the vocabulary that a warning names."""


def encode_prompt(tokenizer: Tokenizer, prompt: str, option: str) -> np.ndarray:
    """Return the ids [N] int32 of ``prompt``, given as ``option``.

    Raises:
        UserError: it is not valid UTF-8, or the tokenizer cannot read it.
    """
    try:
        return tokenizer.encode_prompt(prompt)
    except UserError as error:
        raise UserError(f"{option}: {error}") from error
    except (UnicodeError, TypeError):  # an argument that is not UTF-8
        raise UserError(f"{option}: is not valid UTF-8") from None


def unknown_parts(tokenizer: Tokenizer, prompt: str, option: str) -> str:
    """Return a line that names the parts of ``prompt`` outside the vocabulary; empty if there are none."""
    outside = tokenizer.outside(prompt)
    if not outside:
        return ""
    different = list(dict.fromkeys(outside))
    named = ", ".join(map(repr, different[:_NAMED])) + (", ..." if len(different) > _NAMED else "")
    read = tokenizer.decode(tokenizer.encode_prompt(outside[0]))
    units = tokenizer.unit if len(outside) == 1 else f"{tokenizer.unit}s"
    how = f"read as {read!r}" if read else "left out"
    return f"{option}: {len(outside)} {units} outside the vocabulary, {how}: {named}"


def left_out(tokens: int, context: int, option: str) -> str:
    """Return a line with the number of tokens of a prompt that the model does not see; empty if it sees all."""
    if tokens < 1:
        return ""
    first = "the first token is" if tokens == 1 else f"the first {tokens:,} tokens are"
    return f"{option}: {first} left out, this model sees at most {context:,} at a time"
