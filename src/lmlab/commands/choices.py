"""``lmlab generate options=...``: the most probable of several options after each prompt, instead of a new text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO

from lmlab.commands.generate import encoded, say_notes, unknown_to, unseen_by
from lmlab.commands.prompts import Prompt
from lmlab.errors import UserError, nearest
from lmlab.models.decoding_options import unescaped
from lmlab.runs.files import dumps
from lmlab.surroundings import printable

if TYPE_CHECKING:
    from lmlab.training.load import Trained

KEYS = ("text", "scores", "score_per", "run")
"""Keys of the record of a choice that no prompt's record may have."""

_EXAMPLE = """'["yes","no"]'"""


def options_of(prompts: Sequence[Prompt], options: str | list[str]) -> list[list[str]]:
    """Return the options of each prompt: the list ``options``, or the value of the key ``options`` of its record.

    Raises:
        UserError: they are not a list of at least two different texts.
    """
    if isinstance(options, list):
        texts = _checked(options, f"options={json.dumps(options, ensure_ascii=False)}")
        return [[unescaped(text) for text in texts]] * len(prompts)
    for prompt in prompts:
        if options not in prompt.others:
            near = nearest(options, prompt.others)
            raise UserError(
                f"options={options}: expected a list of texts like {_EXAMPLE}, or a key of the records in prompts=...; "
                f"{prompt.source} has no such key{near}"
            )
    return [_checked(prompt.others[options], f"{prompt.source}: {options}") for prompt in prompts]


def _checked(options: Any, source: str) -> list[str]:
    if not isinstance(options, list) or not all(isinstance(each, str) and each for each in options):
        raise UserError(f"{source}: expected a list of texts of at least one character, like {_EXAMPLE}")
    if len(options) < 2 or len(set(options)) < len(options):
        raise UserError(f"{source}: expected at least two different texts, like {_EXAMPLE}")
    return options


@dataclass(frozen=True)
class Choice:
    """The best option after a prompt.

    Attributes:
        scores: for each option its log-probability in nats, divided as chosen.
    """

    prompt: Prompt
    options: list[str]
    scores: list[float]

    @property
    def text(self) -> str:
        """Return the option with the highest score, the first of equal ones."""
        return self.options[self.scores.index(max(self.scores))]


def choose(
    trained: "Trained",
    prompts: Sequence[Prompt],
    options: Sequence[list[str]],
    score_per: Literal["text", "token", "byte"],
    batch_size: int,
) -> list[Choice]:
    """Return the best option of each prompt, which begins a document.

    Args:
        score_per: options are compared by their log-probability, or by that divided by their tokens or bytes of UTF-8.

    Raises:
        UserError: the tokenizer cannot encode a text, or an option has no tokens.
    """
    from lmlab.models.choice import score_options

    starts = [encoded(trained, prompt) for prompt in prompts]
    several = [
        [encoded(trained, Prompt(option, prompt.number, f"{prompt.source}: option")) for option in of_prompt]
        for prompt, of_prompt in zip(prompts, options, strict=True)
    ]
    for option in (option for of_prompt in several for option in of_prompt):
        if len(option.tokens) < 2:
            raise UserError(f"{option.prompt.source} {json.dumps(option.prompt.text)}: has no token to be scored")
    different = {option.prompt.text: option for of_prompt in several for option in of_prompt}
    notes = unknown_to(trained, [*starts, *different.values()])
    say_notes(notes + unseen_by(trained, starts, trained.context))
    # The first token of an encoded text is the separator that begins a document.
    tokens = [[option.tokens[1:] for option in of_prompt] for of_prompt in several]
    log_probs = score_options(trained.model, [start.tokens for start in starts], tokens, trained.context, batch_size)
    choices = []
    for prompt, texts, of_prompt, sums in zip(prompts, options, tokens, log_probs, strict=True):
        lengths = {
            "text": [1] * len(texts),
            "token": [len(option) for option in of_prompt],
            "byte": [len(text.encode(errors="replace")) for text in texts],
        }[score_per]
        choices.append(Choice(prompt, texts, [total / length for total, length in zip(sums, lengths, strict=True)]))
    return choices


def write(
    choices: Sequence[Choice], stream: TextIO, format: Literal["text", "jsonl"], run: str, score_per: str
) -> None:
    """Write each prompt with its best option, or a record with the scores of all options."""
    for choice in choices:
        if format == "jsonl":
            scores = dict(zip(choice.options, choice.scores, strict=True))
            record = {"prompt": choice.prompt.text, "text": choice.text, "scores": scores, "score_per": score_per}
            stream.write(dumps(record | {"run": run} | choice.prompt.others) + "\n")
        else:
            stream.write(f"{choice.prompt.text}{printable(choice.text)}\n")
