"""Answers to prompts that ``lmlab evaluate prompts=...`` scores by their likelihood."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmlab.commands import tables
from lmlab.commands.generate import encoded, say_notes, unknown_to, unseen_by
from lmlab.commands.prompts import Prompt, check_keys, read_prompts
from lmlab.errors import UserError
from lmlab.numerals import written

if TYPE_CHECKING:
    from lmlab.models.likelihood import Scored
    from lmlab.training.load import Trained

KEY = "answer"
"""The key of a record's answer."""

_EXAMPLE = f'{{"prompt": "2+2=", "{KEY}": "4"}}'
_KEYS = ("tokens", "log_probability", "log_probabilities", "correct", "run")


@dataclass(frozen=True)
class Answers:
    """Prompts, and for each of them the text that is scored after it."""

    prompts: list[Prompt]
    answers: list[Prompt]

    @classmethod
    def read(cls, name: str) -> "Answers":
        """Return the answers in a file of prompts.

        Raises:
            UserError: the file cannot be read (see :func:`read_prompts`), or a record has no answer or has a key that
                the output uses.
        """
        prompts = read_prompts(name)
        check_keys(prompts, _KEYS)
        return cls(prompts, [_answer(prompt) for prompt in prompts])

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of all prompts and answers."""
        texts = [[prompt.text, answer.text] for prompt, answer in zip(self.prompts, self.answers, strict=True)]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def score(self, trained: "Trained", context: int, batch_size: int) -> list["Scored"]:
        """Score each answer after its prompt, which begins a document.

        Raises:
            UserError: the tokenizer cannot encode a text, or an answer has no tokens.
        """
        from lmlab.models.likelihood import score

        prompts = [encoded(trained, prompt) for prompt in self.prompts]
        answers = [encoded(trained, answer) for answer in self.answers]
        for answer in answers:
            if len(answer.tokens) < 2:
                raise UserError(f"{answer.prompt.source}={json.dumps(answer.prompt.text)}: has no token to be scored")
        say_notes(unknown_to(trained, [*prompts, *answers]) + unseen_by(trained, prompts, context))
        texts = [prompt.tokens + answer.tokens[1:] for prompt, answer in zip(prompts, answers, strict=True)]
        return score(trained.model, texts, context, [len(prompt.tokens) for prompt in prompts], batch_size)

    def records(self, scored: Sequence["Scored"], run: str) -> list[dict[str, Any]]:
        """Return a record of the scores of each answer, with the other keys of its input; log-probabilities in nats."""
        return [
            {
                "prompt": prompt.text,
                **prompt.others,
                "tokens": len(one.log_probs),
                "log_probability": one.log_prob,
                "log_probabilities": one.log_probs,
                "correct": all(one.correct),
                "run": run,
            }
            for prompt, one in zip(self.prompts, scored, strict=True)
        ]


def _answer(prompt: Prompt) -> Prompt:
    answer = prompt.others.get(KEY)
    if KEY not in prompt.others:
        raise UserError(f"{prompt.source}: has no key {KEY}; expected a record of a .jsonl file like {_EXAMPLE}")
    if not isinstance(answer, str) or not answer:
        raise UserError(f"{prompt.source}: {KEY}={json.dumps(answer)[:40]}: expected a text of at least one character")
    return Prompt(answer, prompt.number, f"{prompt.source}: {KEY}")


def metrics_of(scored: Sequence["Scored"]) -> dict[str, float]:
    """Return means over the tokens of all answers, and the mean log-probability and share of correct answers."""
    tokens = sum(len(one.log_probs) for one in scored)
    total = sum(one.log_prob for one in scored)
    return {
        "loss": -total / tokens,
        "perplexity": math.exp(min(-total / tokens, 700.0)),
        "accuracy": sum(sum(one.correct) for one in scored) / tokens,
        "answers": len(scored),
        "answers_correct": sum(all(one.correct) for one in scored) / len(scored),
        "log_probability": total / len(scored),
        "tokens": tokens,
    }


def show_answers(title: str, metrics: Mapping[str, float]) -> None:
    """Print one row about all answers."""
    row = {
        "answers": f"{metrics['answers']:,}",
        "tokens": f"{metrics['tokens']:,}",
        "loss (nats/token)": written(metrics["loss"], "{:.4f}"),
        "perplexity": written(metrics["perplexity"], "{:,.2f}"),
        "log-probability (nats/answer)": written(metrics["log_probability"], "{:.4f}"),
        "accuracy (of tokens)": written(metrics["accuracy"], "{:.1%}"),
        "correct (answers)": written(metrics["answers_correct"], "{:.1%}"),
    }
    tables.print_table(title, [row])
    tables.say("An answer is correct if each of its tokens is the most probable one after those before it.")
