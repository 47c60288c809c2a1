"""Translations: files in two languages that are aligned by line."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from lmlab.data.corpora.files import TextFile
from lmlab.data.examples.sources import FromFiles, Malformed, Record, lines
from lmlab.errors import UserError

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
    """Sentences and their translations: for each split one file per language, aligned by line.

    ``{language}`` in the names of files stands for the language. The fields are ``source``, ``target``,
    ``source_language`` and ``target_language``.

    Args:
        source: language of the input, as the names of files have it: ``en``.
        target: language of the answer.

    Raises:
        UserError: the languages are the same, or a name has no ``{language}``.
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
        if _PLACE not in name:
            raise UserError(f"data.paths: {name} has no {_PLACE}, which stands for the languages; as in train.{_PLACE}")
        return tuple(name.replace(_PLACE, language) for language in (self.source, self.target))

    def hint(self, corpora: Path, pattern: str) -> str:
        form = re.escape(Path(pattern).name).replace(re.escape(_PLACE), r"(\w+)").replace(r"\*", ".*")
        folder = corpora / Path(pattern).parent
        matches = (re.fullmatch(form, path.name) for path in folder.iterdir()) if folder.is_dir() else ()
        languages = sorted(match[1] for match in matches if match)
        return f" (languages there: {', '.join(languages)})" if languages else ""

    def read(self, files: tuple[TextFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        names = {
            "source_language": _LANGUAGES.get(self.source, self.source),
            "target_language": _LANGUAGES.get(self.target, self.target),
        }
        counts = [sum(1 for _ in lines(file)) for file in files]
        if counts[0] != counts[1]:
            sizes = " and ".join(f"{file.path} has {count:,} lines" for file, count in zip(files, counts, strict=True))
            raise UserError(f"data={self.name}: {sizes}; expected as many, since they are aligned by line")
        for number, (source, target) in enumerate(zip_longest(*map(lines, files)), 1):
            empty = [str(file.path) for file, line in zip(files, (source, target), strict=True) if not line.strip()]
            record = {"source": source, "target": target, **names}
            yield f"line {number:,}", Malformed(f"the line of {' and '.join(empty)} is empty") if empty else record

    def options(self) -> dict[str, Any]:
        return {**super().options(), "source": self.source, "target": self.target}
