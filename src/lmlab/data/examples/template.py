"""Templates: the prompt and the answers of an example, from the fields of a record."""

import re
import string
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lmlab.errors import UserError, nearest

_PARTS = ("instruction", "input", "answer")
_Side = Literal["left", "right"]
_OPTIONS = (*_PARTS, "continues", "truncation_side")


class Example(NamedTuple):
    """A prompt and the answers that are right.

    Attributes:
        prompt: ends with a line end, unless it is empty or the answer continues its line.
        references: at least one; models are trained on the first. Of a multiple choice, all choices, the right one
            first.
        continues: the answer continues the line of the prompt, after a space.
    """

    prompt: str
    references: tuple[str, ...]
    continues: bool = False

    @property
    def answer(self) -> str:
        """Return the answer that models are trained on, as it follows the prompt."""
        return self.following(self.references[0])

    def following(self, answer: str) -> str:
        """Return an answer as it follows the prompt: after a space if it continues the prompt's line."""
        return f" {answer}" if self.continues else answer


class Template:
    """Makes examples from records. In a text, ``{name}`` stands for the field of that name, ``{{`` for a brace.

    A prompt is the instruction and the input, each with a line end. A field that is a list of texts has several right
    answers; only the answer may use such fields. In answers, white space is one space, since a line end ends an answer
    for tokenizers that have no mark of their own.

    Args:
        instruction: says what is to be done; may be empty.
        input: may be empty if there is an instruction.
        answer: must name a field.
        continues: the answer continues the last line of the prompt after a space, as in running text. Such an answer
            has no end that is trained on or scored.
        truncation_side: the side on which a prompt that is too long for the context is cut.

    Raises:
        UserError: a text is no template, both texts of the prompt are empty, the answer names no field, or the end of
            prompts that answers continue is to be cut.
    """

    def __init__(
        self, instruction: str, input: str, answer: str, continues: bool = False, truncation_side: _Side = "left"
    ) -> None:
        self._texts = {"instruction": instruction, "input": input, "answer": answer}
        self._fields = {part: _fields(part, text) for part, text in self._texts.items()}
        self.continues = continues
        self.truncation_side = truncation_side
        if continues and truncation_side == "right":
            raise UserError("data.template.truncation_side=right: continues=true needs the end of prompts; choose left")
        if not instruction and not input:
            raise UserError("data.template: instruction and input are both empty; one of them needs text")
        if not self._fields["answer"]:
            raise UserError(f"data.template.answer={answer}: names no field; expected one, as in {{answer}}")

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> "Template":
        """Return the template of a configuration's section ``data.template``. Raises ``UserError``."""
        for option, value in section.items():
            if option not in _OPTIONS:
                raise UserError(f"data.template.{option}: no such part{nearest(option, _OPTIONS)}")
            kind, expected = (bool, "true or false") if option == "continues" else (str, "a text")
            if value is not None and not isinstance(value, kind):
                raise UserError(f"data.template.{option}={value}: expected {expected}")
        side: Any = section.get("truncation_side") or "left"
        if side not in get_args(_Side):
            raise UserError(f"data.template.truncation_side={side}: no such side{nearest(side, get_args(_Side))}")
        instruction, input, answer = (section.get(part) or "" for part in _PARTS)
        return cls(instruction, input, answer, bool(section.get("continues")), side)

    @property
    def options(self) -> dict[str, Any]:
        """Return the text of each part, whether answers continue the prompt, and the side of truncation if not left."""
        side = {} if self.truncation_side == "left" else {"truncation_side": self.truncation_side}
        return {**self._texts, "continues": self.continues, **side}

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of the fields that the texts use."""
        return tuple(dict.fromkeys(name for names in self._fields.values() for name in names))

    @property
    def input_fields(self) -> tuple[str, ...]:
        """Return the names of the fields of the input."""
        return tuple(dict.fromkeys(self._fields["input"]))

    @property
    def prompt_fields(self) -> tuple[str, ...]:
        """Return the names of the fields of the instruction and the input."""
        return tuple(dict.fromkeys([*self._fields["instruction"], *self._fields["input"]]))

    def check(self, fields: Mapping[str, Any]) -> None:
        """Refuse a template that names a field which the records do not have. Raises ``UserError``."""
        for part, names in self._fields.items():
            for name in names:
                if name not in fields:
                    raise UserError(f"data.template.{part}: records have no field {name}{nearest(name, fields)}")
                if part != "answer" and not isinstance(fields[name], str):
                    raise UserError(f"data.template.{part}: the field {name} has several texts; only the answer may")

    def __call__(self, fields: Mapping[str, Any]) -> Example:
        """Return the example of a record: texts, or lists of texts, by field. :meth:`check` must have passed."""
        end = "" if self.continues else "\n"
        prompt = "\n".join(text.format_map(fields) for text in self._prompts()) + end
        lists = {name: value for name in self._fields["answer"] if not isinstance(value := fields[name], str)}
        number = min((len(values) for values in lists.values()), default=1)
        answers = (
            self._texts["answer"].format_map({**fields, **{name: values[place] for name, values in lists.items()}})
            for place in range(number)
        )
        references = _joined(answers)
        return Example(prompt.rstrip() if self.continues else prompt, references, self.continues)

    def truncated(self, prompt_N: np.ndarray, length: int) -> np.ndarray:
        """Return the tokens of a prompt that are read if ``length`` are. The last one, its line end, always is."""
        cut = len(prompt_N) - length
        if cut <= 0 or self.truncation_side == "left":
            return prompt_N[max(0, cut) :]
        return np.concatenate([prompt_N[: length - 1], prompt_N[-1:]])

    def input_of(self, prompt: str) -> str:
        """Return the input of a prompt that this template made: its text after the instruction."""
        if not self._texts["instruction"] or not self._texts["input"]:
            return prompt.strip()
        parts = string.Formatter().parse(self._texts["instruction"])
        pattern = "".join(re.escape(literal) + ".*?" * (name is not None) for literal, name, *_ in parts)
        match = re.match(f"{pattern}\n", prompt, re.DOTALL)
        return prompt[match.end() if match else 0 :].strip()

    def _prompts(self) -> list[str]:
        return [text for part in ("instruction", "input") if (text := self._texts[part])]


def _joined(answers: Iterable[str]) -> tuple[str, ...]:
    """Return different answers in order, each with one space for white space."""
    return tuple(dict.fromkeys(" ".join(answer.split()) for answer in answers))


def _fields(part: str, text: str) -> list[str]:
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UserError(f"data.template.{part}={text}: {error}; write {{{{ for a brace") from error
    for _, name, form, conversion in parsed:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise UserError(f"data.template.{part}={text}: expected the name of a field in braces, as in {{question}}")
    return [name for _, name, _, _ in parsed if name is not None]
