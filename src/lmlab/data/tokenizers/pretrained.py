"""Vocabularies that were trained elsewhere."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from lmlab.data.tokenizers import cutting
from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.data.tokenizers.vocabularies import FORMS, Vocabulary, of_encoding, read
from lmlab.errors import UserError
from lmlab.surroundings import expanded

_OF_TOKENIZERS = (".json", ".model", ".txt", ".tiktoken")
"""Endings of the files in a folder of transformers on which a tokenizer depends."""

_PROBE = "the end of a long day in an old city and then it was to be the best of all \u00fcber \u0434\u043e\u043c it"


class Pretrained(Tokenizer):
    """The vocabulary in a file, recognised by its content, or in a folder of the transformers library.

    Files are a ``tokenizer.json``, a SentencePiece model, or the ranks of a tiktoken encoding. Ids are those of the
    library that wrote it. Text that spells a special token is only text. The separator is the token that ends
    documents, or one id more if there is none. A run keeps the whole vocabulary, so the file is needed only once.

    Args:
        path: the file or folder; ``~`` is expanded.
        end: name of the token that ends documents; ``None``: the one that the vocabulary names.
        pattern: of a file of ranks, the regular expression of its segments, or the name of an encoding that has it;
            ``None``: that of the published file with as many ranks.

    Raises:
        UserError: ``path`` is empty.
    """

    fitted = True

    def __init__(self, path: str, end: str | None = None, pattern: str | None = None) -> None:
        if not path:
            raise UserError("tokenizer.path is empty: expected a file or folder")
        self._path, self._end, self._pattern = expanded(path), end, pattern

    def check(self) -> None:
        _ = self._vocabulary

    def checksum(self) -> str | None:
        digest = hashlib.sha256()
        for name, content in _contents(self._path):
            digest.update(f"{len(name.encode())} {name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return read(self._path, self._end, self._pattern)

    @property
    def size(self) -> int:
        return self._vocabulary.size + (self._vocabulary.end is None)

    @property
    def separator(self) -> int:
        end = self._vocabulary.end
        return self._vocabulary.size if end is None else end

    @property
    def end_of_document(self) -> int:
        return self.separator

    @property
    def reversible(self) -> bool:
        return self._vocabulary.reversible

    def fit(self, documents: Iterable[str]) -> None:
        pass

    def encode(self, document: str) -> np.ndarray:
        return next(self.encode_all([document]))

    def encode_all(self, documents: Iterable[str]) -> Iterator[np.ndarray]:
        return cutting.encode_all(documents, self._parts, self._vocabulary.encode)

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        return cutting.pieces(chunks, cutting.BETWEEN_WORDS) if self._space == "kept" else super().pieces(chunks)

    def _parts(self, document: list[str]) -> Iterator[str]:
        """Yield the parts of a document that are encoded by themselves."""
        if self._space != "added":
            yield from self.pieces(document)
            return
        whole = "".join(document)
        for number, part in enumerate(cutting.pieces([whole], cutting.BETWEEN_WORDS, len(whole) + 1)):
            yield part[1:] if number else part

    @cached_property
    def _space(self) -> str | None:
        """Return the rule by which words join: a space before a word is ``kept`` if it begins a text, or ``added``.

        ``None``: words encoded by themselves do not join to the text that they form.
        """
        if any(re.search(rb"[^\s] [^\s]", token) for token in self._vocabulary.types or ()):
            return None
        words = re.split("(?= )", _PROBE)
        if self._prefix:
            words = [word.lstrip() for word in words]
        whole, *parts = self._vocabulary.encode([_PROBE, *words])
        if [*chain(*parts)] != [*whole]:
            return None
        return "added" if self._prefix else "kept"

    def decode(self, ids: np.ndarray) -> str:
        ids = np.asarray(ids)
        texts = np.split(ids, np.flatnonzero(ids == self.separator))
        return "\n".join(self._decode(text[text != self.separator].tolist()) for text in texts)

    def _decode(self, ids: list[int]) -> str:
        types = self._vocabulary.types
        if types is None:
            return self._vocabulary.decode(ids)
        content = b"".join(types[id] for id in ids)
        return content.removeprefix(self._prefix).decode(errors="replace")

    @cached_property
    def _prefix(self) -> bytes:
        """Return the bytes that encoding puts before a text: a space or nothing."""
        if (types := self._vocabulary.types) is None:
            return b""
        return b" " * b"".join(types[id] for id in next(self._vocabulary.encode(["a"]))).startswith(b" ")

    def types(self) -> list[bytes]:
        types = self._vocabulary.types
        types = super().types() if types is None else [*types, b""][: self.size]
        types[self.separator] = b""
        return types

    def outside(self, document: str) -> list[str]:
        return [part for piece in self._parts([document]) for part in self._vocabulary.outside(piece)]

    def state(self) -> dict[str, Any]:
        return {"form": self._vocabulary.form, **self._vocabulary.state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        tokenizer = cls.__new__(cls)
        tokenizer._vocabulary = FORMS[state["form"]](**{key: state[key] for key in state if key != "form"})
        return tokenizer


class TikToken(Pretrained):
    """An encoding of the tiktoken library by its name.

    Its ranks are downloaded, or read from the library's cache, when text is encoded for the first time.

    Args:
        name: name of the encoding, as ``gpt2``, ``cl100k_base``, ``o200k_base``.
    """

    def __init__(self, name: str = "gpt2") -> None:
        self._name = name

    def checksum(self) -> None:
        return None  # the name says which it is

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return of_encoding(self._name)


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the files of a tokenizer, its own name left out."""
    try:
        if not path.is_dir():
            yield "", path.read_bytes()
            return
        for file in sorted(path.iterdir()):
            if file.suffix in _OF_TOKENIZERS and file.is_file():
                yield file.name, file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"tokenizer.path={path}: there is no such file or folder") from None
    except OSError as error:
        raise UserError(f"tokenizer.path={path}: cannot be read ({error.strerror})") from error
