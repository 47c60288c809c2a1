"""Translations: files in two languages that are aligned by line."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lmlab.data.corpora.records import Malformed, Record, SourceFile, holds_records, is_blank
from lmlab.data.examples.sources import FromFiles
from lmlab.errors import UserError, nearest

_PLACE = "{language}"
_NAMES = (
    "ar:Arabic bg:Bulgarian bn:Bengali cs:Czech da:Danish de:German el:Greek en:English es:Spanish "
    "et:Estonian fa:Persian fi:Finnish fr:French ga:Irish he:Hebrew hi:Hindi hr:Croatian hu:Hungarian "
    "id:Indonesian is:Icelandic it:Italian ja:Japanese ko:Korean lt:Lithuanian lv:Latvian nl:Dutch "
    "no:Norwegian pl:Polish pt:Portuguese ro:Romanian ru:Russian sk:Slovak sl:Slovene sr:Serbian "
    "sv:Swedish sw:Swahili ta:Tamil th:Thai tr:Turkish uk:Ukrainian ur:Urdu vi:Vietnamese zh:Chinese"
)
_LANGUAGES = dict(pair.split(":") for pair in _NAMES.split())
"""English names of languages by their code of ISO 639-1; other languages are named by their code."""


class Aligned(FromFiles):
    """Sentences and their translations: one file per language, aligned by line, or records with both.

    ``{language}`` in the names of files stands for the language. A record has a field for each language, by its name,
    or these in a field ``translation``. The fields for the template are ``source``, ``target``, ``source_language`` and
    ``target_language``.

    Args:
        source: language of the input, as the names of files have it: ``en``.
        target: language of the answer.

    Raises:
        UserError: the languages are the same, or a name has no ``{language}`` and is not that of a file of records.
    """

    def __init__(
        self,
        source: str,
        target: str,
        name: str,
        licence: str,
        template: Mapping[str, Any],
        metrics: list[Any],
        length: int,
        loss: Literal["answer", "all"] = "answer",
        in_corpora: Mapping[str, str] | None = None,
        paths: dict[str, Any] | list[str] | str | None = None,
        on_error: Literal["fail", "skip"] = "fail",
        decoding: Mapping[str, Any] | None = None,
    ) -> None:
        if source == target:
            raise UserError(f"data.target={target}: is data.source as well; expected another language")
        self.source = source
        self.target = target
        super().__init__(name, licence, template, metrics, length, loss, in_corpora, paths, on_error, decoding)

    def names(self, name: str) -> tuple[str, ...]:
        if _PLACE in name:
            return tuple(name.replace(_PLACE, language) for language in (self.source, self.target))
        if not holds_records(Path(name)):
            raise UserError(
                f"data.paths: {name} has no {_PLACE}, which stands for the languages; expected it, as in "
                f"train.{_PLACE}, or a file of records with the fields {self.source} and {self.target}"
            )
        return (name,)

    def hint(self, corpora: Path, pattern: str) -> str:
        form = re.escape(Path(pattern).name).replace(re.escape(_PLACE), r"(\w+)").replace(r"\*", ".*")
        folder = corpora / Path(pattern).parent
        matches = (re.fullmatch(form, path.name) for path in folder.iterdir()) if folder.is_dir() else ()
        languages = sorted(match[1] for match in matches if match)
        return f" (languages there: {', '.join(languages)})" if languages else ""

    def read(self, files: tuple[SourceFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        names = {
            "source_language": _LANGUAGES.get(self.source, self.source),
            "target_language": _LANGUAGES.get(self.target, self.target),
        }
        pairs = self._lines(files) if len(files) > 1 else self._fields(files[0])
        for place, pair in pairs:
            yield place, pair if isinstance(pair, Malformed) else {"source": pair[0], "target": pair[1], **names}

    def _lines(self, files: tuple[SourceFile, ...]) -> Iterator[tuple[str, tuple[Any, ...] | Malformed]]:
        """Yield the lines of both files."""
        counts = [sum(1 for _ in file.lines()) for file in files]
        if counts[0] != counts[1]:
            sizes = " and ".join(f"{file.path} has {count:,} lines" for file, count in zip(files, counts, strict=True))
            raise UserError(f"data={self.name}: {sizes}; expected as many, since they are aligned by line")
        for numbered in zip(*(file.lines() for file in files), strict=True):
            pair = tuple(line for _, line in numbered)
            faults = [line for line in pair if isinstance(line, Malformed)] or [
                Malformed(f"the line of {file.path} is empty")
                for file, line in zip(files, pair, strict=True)
                if not isinstance(line, Malformed) and is_blank(line)
            ]
            yield numbered[0][0], faults[0] if faults else pair

    def _fields(self, file: SourceFile) -> Iterator[tuple[str, tuple[Any, ...] | Malformed]]:
        """Yield the fields of both languages."""
        for place, record in file.records():
            texts = record if isinstance(record, Malformed) else record.get("translation", record)
            if isinstance(texts, Malformed):
                yield place, texts
                continue
            fields = texts if isinstance(texts, dict) else {}
            missing = next((name for name in (self.source, self.target) if name not in fields), None)
            fault = Malformed(f"no field {missing!r}{nearest(missing, map(str, fields))}") if missing else None
            yield place, fault or (fields[self.source], fields[self.target])

    def options(self) -> dict[str, Any]:
        return {**super().options(), "source": self.source, "target": self.target}
