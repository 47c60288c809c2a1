"""Prompts of ``lmlab generate input=...``: the template of a task, applied to a user's input."""

import json
import shlex
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from lmlab.commands.app import typed_words
from lmlab.commands.prompts import Prompt
from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Config, Paths
from lmlab.config.overrides import written
from lmlab.errors import UserError, nearest
from lmlab.runs.lookup import config_here
from lmlab.runs.run import Run

if TYPE_CHECKING:
    from lmlab.data.examples import Examples

_COMPARED = 100
"""Number of the first records in which a field has to be the same, to be the same for every input."""


def check_input(input: Any, prompt: str, prompts: str | None, data: Config | None) -> None:
    """Refuse options that cannot be combined with ``input``, or that need it. Raises ``UserError``."""
    refuse_tokenizer()
    if input is None and data is not None:
        raise UserError("data: is for input=..., to which it applies the template of a task; leave it out")
    for option, value in (("prompt", prompt or None), ("prompts", prompts)):
        if input is not None and value is not None:
            raise UserError(f"{option}={value}: cannot be combined with input={written(input)}; leave one of them out")


def refuse_tokenizer() -> None:
    """Refuse an option of the tokenizer, which that of the run decides. Raises ``UserError``."""
    if (word := next((word for word in typed_words() if word.startswith("tokenizer")), None)) is not None:
        raise UserError(f"{word}: a run has its own tokenizer; leave it out")


def examples_of(input: str, data: Config | None, run: Run) -> "Examples":
    """Return the data set whose template is applied to an input, and whose settings of decoding are the defaults.

    Args:
        data: a section ``data``; ``None``: that of the run.

    Raises:
        UserError: the data have no template.
    """
    from lmlab.data.examples import Examples

    node = config_here(run)["data"] if data is None else data
    validate(node, "data")
    examples = build(node)
    name = getattr(examples, "name", node["_target_"])
    if not isinstance(examples, Examples):
        whose = f"{name}, on which {run.path.name} was trained," if data is None else f"data={name}"
        raise UserError(f"input={written(input)}: {whose} has no template; name a task that has, as in data=multi30k")
    return examples


def prompt_of(input: str, examples: "Examples", paths: Paths) -> Prompt:
    """Return the prompt that a task's template makes of an input.

    Args:
        input: the text of the only field of the template's input, or a JSON object of texts by the names of fields.

    Raises:
        UserError: the input does not fit the template.
    """
    name, fields = examples.name, _fields(input, examples)
    if missing := [field for field in examples.template.prompt_fields if field not in fields]:
        fields |= _same_in_all(examples, missing, paths)
    if lacking := next((field for field in missing if field not in fields), None):
        raise UserError(
            f"input={written(input)}: the template of {name} needs the field {lacking} as well, "
            f"{_example(examples.template.prompt_fields)}"
        )
    without_answer = dict.fromkeys(examples.template.fields, "") | fields
    return Prompt(examples.template(without_answer).prompt, source="input")


def _fields(input: str, examples: "Examples") -> dict[str, Any]:
    """Return the fields of an input. Raises ``UserError`` for names that the template does not have."""
    template = examples.template
    own = template.input_fields or template.prompt_fields
    try:
        fields = json.loads(input)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        if len(own) != 1:
            raise UserError(
                f"input={written(input)}: the template of {examples.name} has the fields {' and '.join(own)}; expected "
                f"all, {_example(own)}"
            )
        return {own[0]: input}
    for field in fields:
        if field not in template.prompt_fields:
            raise UserError(f"input: the template has no field {field}{nearest(field, template.prompt_fields)}")
    return {field: value if isinstance(value, str) else json.dumps(value) for field, value in fields.items()}


def _example(fields: Iterable[str]) -> str:
    """Return the option with all fields, as it is typed."""
    return "as " + shlex.quote(f"input={json.dumps(dict.fromkeys(fields, '...'))}")


def _same_in_all(examples: "Examples", names: Iterable[str], paths: Paths) -> dict[str, Any]:
    """Return the fields with one text in all records, such as the names of languages; none if there are no records."""
    try:
        folders = Folders.of(paths)
        examples.find(folders.corpora, folders.cache)
        records = list(islice(examples.records(examples.splits[0]), _COMPARED))
    except UserError:
        return {}
    texts = {name: {str(record.get(name)) for record in records} for name in names}
    return {name: each.pop() for name, each in texts.items() if len(each) == 1}
