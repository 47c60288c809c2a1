"""Multiple choice and classification: each record has choices, and one is right."""

import string
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from lmlab.data.corpora.records import Malformed, Record, SourceFile
from lmlab.data.examples.sources import FromFiles, as_text
from lmlab.errors import UserError

if TYPE_CHECKING:
    from lmlab.data.judges import Judge
    from lmlab.data.judges.answers import AnswerMetric, TextsMetric
    from lmlab.data.tokenizers import Tokenizer


class MultipleChoice(FromFiles):
    """Records with choices; the model takes the most likely one.

    The template may use the fields of the record, and ``choice``, each of the choices: ``answer: "{choice}"``.
    ``listed`` is the choices on lines of their own with letters, and ``letter`` the letter of each: with
    ``input: "{question}\\n{listed}"`` and ``answer: "{letter}"`` the model chooses a letter. Models are trained on the
    right choice.

    Args:
        choices: the field with the list of choices; or a list of labels that all records choose from, for
            classification.
        right: the field that says which is right: its number, letter or label, or its text.
        first: the number of the first choice, where they are numbered.
    """

    def __init__(
        self,
        name: str,
        licence: str,
        template: Mapping[str, Any],
        choices: str | list[str] = "choices",
        right: str = "answer",
        first: int = 0,
        length: int = 32,
        loss: Literal["answer", "all"] = "answer",
        in_corpora: Mapping[str, str] | None = None,
        paths: dict[str, Any] | list[str] | str | None = None,
        on_error: Literal["fail", "skip"] = "fail",
    ) -> None:
        super().__init__(name, licence, template, [], length, loss, in_corpora, paths, on_error)
        if isinstance(choices, list) and len(set(choices)) < 2:
            raise UserError(f"data.choices={choices}: expected at least two different labels, or the name of a field")
        self.choices = choices
        self.right = right
        self.first = first

    def read(self, files: tuple[SourceFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        for place, record in files[0].records():
            yield place, record if isinstance(record, Malformed) else self._with_choices(record)

    def _with_choices(self, record: Record) -> Record | Malformed:
        """Return a record with the fields for the template, in which the right choice is the first."""
        labels = letters = string.ascii_uppercase
        value: Any = self.choices if isinstance(self.choices, list) else record.get(self.choices)
        if isinstance(value, dict) and isinstance(value.get("label"), list):  # texts and labels, as ARC has them
            labels, value = value["label"], value.get("text")
        texts = as_text(value)
        if not isinstance(texts, list) or len(texts) < 2 or len(labels) < len(texts):
            return Malformed(f"field {self.choices} is no list of 2 to {len(letters)} choices (data.choices)")
        if len(set(texts)) < len(texts):
            return Malformed(f"field {self.choices} has a choice twice")
        number = self._number(record.get(self.right), texts, labels)
        if number is None:
            return Malformed(f"field {self.right} is {record.get(self.right)!r}, none of the choices (data.right)")
        order = [number, *(place for place in range(len(texts)) if place != number)]
        return {
            **record,
            "choice": [texts[place] for place in order],
            "letter": [letters[place] for place in order],
            "listed": "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=False)),
        }

    def fault(self, record: Record) -> Malformed | None:
        fault = super().fault(record)
        if fault is None and len(self.template(record).references) < len(record["choice"]):
            return Malformed(
                "data.template.answer writes several choices alike; expected {choice} or {letter} in it, and choices "
                "that differ in more than white space"
            )
        return fault

    def _number(self, right: Any, texts: list[str], labels: Any) -> int | None:
        """Return the place of the right choice; ``None`` if it is none of them."""
        if isinstance(right, float) and right.is_integer():  # a whole number beside missing values, in many tables
            right = int(right)
        text = str(right).strip()
        if isinstance(right, bool) or not isinstance(right, int):
            for name in (text, text.lower()) if isinstance(right, bool) else (text,):
                for names in (texts, list(map(str, labels))[: len(texts)]):
                    if name in names:
                        return names.index(name)
        if text.isdecimal() and 0 <= (place := int(text) - self.first) < len(texts):
            return place
        return None

    def judge(self, tokenizer: "Tokenizer", context: int) -> "Judge":
        from lmlab.data.judges.choices import Choices

        return Choices(tokenizer, context, self.template.continues)

    def answer_metrics(self) -> "list[AnswerMetric | TextsMetric]":
        return []

    def signatures(self) -> dict[str, str]:
        from lmlab.data.judges.choices import SIGNATURES

        return dict(SIGNATURES)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "choices": self.choices, "right": self.right, "first": self.first}
