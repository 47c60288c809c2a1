"""Examples from records with named fields: JSON lines, JSON lists, CSV and TSV."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from lmlab.data.corpora.files import TextFile
from lmlab.data.examples.sources import READERS, FromFiles, Malformed, Record, lines
from lmlab.errors import UserError


def records_of(file: TextFile) -> Iterator[tuple[str, Record | Malformed]]:
    """Yield the records of a file, each with its place. Raises ``UserError`` for a file of another kind."""
    reader = READERS.get(file.path.suffix.lower())
    if reader is None:
        raise UserError(f"data.paths: {file.path} holds no records; expected one of {', '.join(READERS)}")
    return reader(file)


class Records(FromFiles):
    """Records with named fields. The template names the fields.

    Args:
        references: fields with right answers; a record need not have all. ``{references}`` in the template stands for
            those that it has, in this order. Models are trained on the first.
    """

    def __init__(
        self,
        name: str,
        licence: str,
        template: Mapping[str, Any],
        metrics: list[Any],
        length: int,
        loss: Literal["answer", "all"] = "answer",
        in_corpora: Mapping[str, str] | None = None,
        paths: dict[str, Any] | list[str] | str | None = None,
        on_error: Literal["fail", "skip"] = "fail",
        references: list[str] | None = None,
        decoding: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, licence, template, metrics, length, loss, in_corpora, paths, on_error, decoding)
        self.references = references or []

    def read(self, files: tuple[TextFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        for place, record in records_of(files[0]):
            if self.references and isinstance(record, dict):
                present = [record[name] for name in self.references if record.get(name) not in (None, "")]
                if not present:
                    yield place, Malformed(f"none of the fields {', '.join(self.references)} (data.references)")
                    continue
                record["references"] = present
            yield place, record

    def options(self) -> dict[str, Any]:
        return {**super().options(), "references": self.references}


class LastWord(FromFiles):
    """Passages whose last word is to be guessed (Paperno et al. 2016, LAMBADA).

    A passage is a line of a text file, or the field ``text`` of a record. The fields are ``context``, all before the
    last word, and ``word``.
    """

    def read(self, files: tuple[TextFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        file = files[0]
        if file.path.suffix.lower() in READERS:
            passages = ((place, _text(record)) for place, record in records_of(file))
        else:
            passages = ((f"line {number:,}", line) for number, line in enumerate(lines(file), 1) if line.strip())
        for place, passage in passages:
            if isinstance(passage, Malformed):
                yield place, passage
                continue
            context, _, word = passage.strip().rpartition(" ")
            yield place, {"context": context, "word": word} if context else Malformed("fewer than two words")


def _text(record: Record | Malformed) -> str | Malformed:
    if isinstance(record, Malformed):
        return record
    text = record.get("text")
    return text if isinstance(text, str) else Malformed("no field text with a text")
