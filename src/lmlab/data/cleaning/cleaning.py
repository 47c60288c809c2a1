"""The section ``data.clean``: which documents of a corpus stay, and how their text is changed."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.data.cleaning.filter import Filter
from lmlab.data.cleaning.language import Languages
from lmlab.data.cleaning.length import MaxLength, MinLength
from lmlab.data.cleaning.near_duplicates import Signatures
from lmlab.data.cleaning.scrub import SCRUBBERS
from lmlab.data.cleaning.unicode import Form, normalised
from lmlab.errors import UserError, nearest


class Cleaning:
    """Cleaning of documents in a fixed order; every step sees the text as the steps before it left it.

    The order is that of the arguments. Text is normalised and scrubbed, documents are filtered one by one, and then
    duplicates are removed. A document is assigned to a split by its cleaned text.

    Args:
        unicode: Unicode normalisation of each document, ``NFC`` or ``NFKC``.
        scrub: personal data to replace by placeholders: ``email``, ``ip``, ``phone``.
        min_length: the least number of characters of a document.
        max_length: the largest number of characters of a document.
        languages: codes of the languages to keep, like ``en``; empty: all.
        confidence: the least probability of the identified language.
        exact_duplicates: keep one of equal documents: of a held-out split, or the first.
        near_duplicates: keep one of documents that are at least so similar.

    Raises:
        UserError: a value is out of range or unknown, an option changes nothing, or a package is missing.
    """

    def __init__(
        self,
        unicode: Form | None = None,
        scrub: list[str] | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        languages: list[str] | None = None,
        confidence: float | None = None,
        exact_duplicates: bool = False,
        near_duplicates: float | None = None,
    ) -> None:
        for name in scrub or ():
            if name not in SCRUBBERS:
                raise UserError(f"data.clean.scrub={name}: unknown{nearest(name, SCRUBBERS)}")
        for option, length in (("min_length", min_length), ("max_length", max_length)):
            if length is not None and length < 1:
                raise UserError(f"data.clean.{option}={length}: expected at least 1 character, or null for no limit")
        if min_length is not None and max_length is not None and min_length > max_length:
            raise UserError(f"data.clean.min_length={min_length}: expected at most data.clean.max_length={max_length}")
        if confidence is not None and not languages:
            raise UserError(f"data.clean.confidence={confidence}: changes nothing without data.clean.languages")
        if confidence is not None and not 0 < confidence <= 1:
            raise UserError(f"data.clean.confidence={confidence}: expected a probability above 0 and up to 1")
        if near_duplicates is not None and not 0.5 <= near_duplicates <= 1:
            raise UserError(
                f"data.clean.near_duplicates={near_duplicates}: expected a similarity from 0.5 to 1, as 0.8, or null"
            )
        options: dict[str, Any] = {
            "unicode": unicode,
            "scrub": [name for name in SCRUBBERS if name in (scrub or ())],
            "min_length": min_length,
            "max_length": max_length,
            "languages": sorted(set(languages or ())),
            "confidence": confidence,
            "exact_duplicates": exact_duplicates,
            "near_duplicates": near_duplicates,
        }
        self.options = {name: value for name, value in options.items() if value not in (None, False, [])}
        """The options that are not off."""
        self.scrubbers = [SCRUBBERS[name] for name in options["scrub"]]
        self._unicode = unicode
        filters: list[Filter | None] = [
            None if min_length is None else MinLength(min_length),
            None if max_length is None else MaxLength(max_length),
            Languages(languages, confidence) if languages else None,
        ]
        self.filters = [one for one in filters if one is not None]
        self.exact_duplicates = exact_duplicates
        self.near_duplicates = near_duplicates
        if near_duplicates is not None:
            self.signatures()  # fails if a package is missing

    def signatures(self) -> Signatures:
        """Return a new computation of the hashes by which near duplicates are found."""
        return Signatures()

    def apply(self, chunks: Iterable[str], replaced: np.ndarray | None = None) -> Iterator[str]:
        """Yield the cleaned text of a document in chunks.

        Args:
            replaced: numbers of replacements by scrubber, to be increased.
        """
        counts = np.zeros(len(self.scrubbers), np.int64) if replaced is None else replaced
        text = chunks if self._unicode is None else normalised(chunks, self._unicode)
        for number, scrubber in enumerate(self.scrubbers):

            def count(number: int = number) -> None:
                counts[number] += 1

            text = scrubber.scrub(text, count)
        yield from text

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of all that cleaning depends on: options, code, versions of packages."""
        packages = {"languages": "py3langid", "near_duplicates": "datasketch"}
        versions = [version(package) for option, package in packages.items() if option in self.options]
        code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
        parts = [json.dumps(self.options, sort_keys=True), unicodedata.unidata_version, *versions, *code]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()
