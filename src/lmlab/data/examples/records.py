"""Examples from records with named fields."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from lmlab.data.corpora.records import Malformed, Record, SourceFile, is_blank
from lmlab.data.examples.sources import FromFiles


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

    def read(self, files: tuple[SourceFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        for place, record in files[0].records():
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

    documents = None

    def read(self, files: tuple[SourceFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        (file,) = files
        for place, content in file.lines() if file.reader is None else file.records():
            passage = content.get("text") if isinstance(content, dict) else content
            if isinstance(passage, Malformed):
                yield place, passage
            elif not isinstance(passage, str):
                yield place, Malformed("no field 'text' with a text")
            elif isinstance(content, dict) or not is_blank(passage):
                context, _, word = passage.strip().rpartition(" ")
                yield place, {"context": context, "word": word} if context else Malformed("fewer than two words")
