"""``lmlab generate``: continue prompts with a run's model; a single text is streamed, several are computed together."""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from lmlab.commands.prompts import Prompt, check_keys, read_prompts
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths
from lmlab.config.overrides import written
from lmlab.errors import UserError
from lmlab.progress import ProgressBar
from lmlab.runs.files import dumps
from lmlab.runs.lookup import find
from lmlab.surroundings import printable
from lmlab.training.threads import check_threads, use_threads

if TYPE_CHECKING:
    from lmlab.data.tokenizers import Tokenizer
    from lmlab.models.generation import Sampler
    from lmlab.training.load import Trained

STOP, END_OF_DOCUMENT, LENGTH = "stop", "end_of_document", "length"
"""Reasons for the end of a text: a stop string, the end-of-document token, the length limit."""

NOTES = 5
"""The largest number of notes on prompts that are printed."""

_ESCAPE = re.compile(r"\\(?:[nrt\\]|u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*)")


def main(
    paths: Paths,
    run: str | None,
    prompt: str,
    prompts: str | None,
    length: int,
    stop: str | list[str] | None,
    end_of_document: bool,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    greedy: bool,
    samples: int,
    seed: int,
    format: Literal["text", "jsonl"],
    log_probabilities: bool,
    batch_size: int,
    checkpoint: str,
    accelerator: str,
    threads: int | None,
    trust: bool = False,
) -> None:
    """Print prompts and their continuations, and nothing else, to standard output."""
    for option, value in (("length", length), ("samples", samples), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{option}={value}: expected at least 1")
    check_threads(threads)
    if log_probabilities and format != "jsonl":
        raise UserError(f"log_probabilities=true: cannot be combined with format={format}; choose format=jsonl")
    stop_strings = read_stop(stop)
    texts = prompts_of(prompt, prompts)
    if format == "jsonl":
        check_keys(texts, KEYS, ", or choose format=text")
    source = find(run, Folders.of(paths).runs)

    from lmlab.models.generation import Sampler
    from lmlab.training.load import load_trained
    from lmlab.training.trainer import device_kind

    sampler = Sampler(temperature, top_k, top_p, greedy)
    use_threads(threads)
    trained = load_trained(source, checkpoint, device_kind(accelerator), trust)
    encoded_prompts = [encoded(trained, one) for one in texts]
    say_notes(unknown_to(trained, encoded_prompts) + unseen_by(trained, encoded_prompts, trained.context))

    ending = Ending(stop_strings, trained.tokenizer.end_of_document if end_of_document else None)
    every = (
        Sample(one, number, seed + number, trained.tokenizer, ending)
        for one in encoded_prompts
        for number in range(samples)
    )
    total = len(encoded_prompts) * samples
    streamed = total == 1 and format == "text"
    output = Output(source.id, format, len(encoded_prompts) > 1, samples > 1, log_probabilities)
    started, tokens, ended = time.perf_counter(), 0, Counter[str]()
    visible = not streamed and sys.stderr.isatty()
    with ProgressBar("Generating", total * length, visible, unit="tokens") as bar:
        while batch := list(islice(every, min(batch_size, total))):
            if streamed:
                stream(batch[0], trained, length, sampler)
            else:
                compute(batch, trained, length, sampler, bar)
                with bar.hidden():
                    output.write(batch)
            tokens += sum(len(sample.tokens) for sample in batch)
            ended.update(sample.ended_by for sample in batch)
    rate = tokens / (time.perf_counter() - started)
    several = f"{total} texts, " if total > 1 else ""
    by = ", ".join(f"{why} ({number})" if total > 1 else why for why, number in ended.most_common())
    print(f"({source.path.name}: {several}{tokens:,} tokens, {rate:,.0f} tokens/s, ended by {by})", file=sys.stderr)


def read_stop(stop: str | list[str] | None) -> list[str]:
    r"""Return the stop strings with the escapes ``\n``, ``\t``, ``\\`` and ``\u00e9`` replaced by characters.

    Raises:
        UserError: a string is empty.
    """
    strings = [stop] if isinstance(stop, str) else stop or []
    if "" in strings:
        raise UserError(f"stop={written(stop) or repr('')}: expected texts of at least one character, or null for none")
    return [_ESCAPE.sub(lambda escape: str(json.loads(f'"{escape[0]}"')), string) for string in strings]


def prompts_of(prompt: str, prompts: str | None) -> list[Prompt]:
    """Return the prompts. Raises ``UserError`` for a faulty file, or if both ``prompt`` and ``prompts`` are set."""
    if prompts is None:
        return [Prompt(prompt)]
    if prompt:
        raise UserError(f"prompt={prompt}: cannot be combined with prompts={prompts}; leave one of them out")
    return read_prompts(prompts)


@dataclass(frozen=True)
class Encoded:
    """A prompt and its tokens [N], which begin with the separator that precedes every text."""

    prompt: Prompt
    tokens: list[int]


def encoded(trained: "Trained", prompt: Prompt) -> Encoded:
    """Encode a prompt. Raises ``UserError`` if the tokenizer cannot encode it."""
    from lmlab.data.tokenizers import encode_prompt

    tokens_N = encode_prompt(trained.tokenizer, prompt.text, prompt.source)
    return Encoded(prompt, [trained.tokenizer.separator, *tokens_N.tolist()])


def unknown_to(trained: "Trained", prompts: Sequence[Encoded]) -> list[str]:
    """Return notes for the user on parts of texts that are outside the vocabulary."""
    from lmlab.data.tokenizers import unknown_parts

    notes = (unknown_parts(trained.tokenizer, one.prompt.text, one.prompt.source) for one in prompts)
    return [note for note in notes if note]


def unseen_by(trained: "Trained", prompts: Sequence[Encoded], context: int) -> list[str]:
    """Return notes for the user on tokens of prompts that are left out because the context is too short."""
    from lmlab.data.tokenizers import left_out
    from lmlab.models.generation import first_tokens

    begins = first_tokens(trained.model, [len(one.tokens) for one in prompts], context)
    # The separator, which the user did not type, is the first token that is left out.
    notes = (left_out(begin - 1, context, one.prompt.source) for one, begin in zip(prompts, begins, strict=True))
    return [note for note in notes if note]


def say_notes(notes: Sequence[str]) -> None:
    """Print notes on prompts to standard error; of many, only the first few."""
    for note in notes[:NOTES]:
        print(note, file=sys.stderr)
    if len(notes) > NOTES:
        print(f"and {len(notes) - NOTES:,} more notes like these", file=sys.stderr)


@dataclass(frozen=True)
class Ending:
    """Stop strings, and the token that ends a document (``None``: none)."""

    strings: Sequence[str]
    token: int | None


class Sample:
    """Continuation of a prompt while it is generated.

    Attributes:
        row: the sequence, with ``ended`` set once something other than the length ends it.
        text: the continuation so far, without the stop string that ended it.
        tokens: the drawn tokens, including those of a stop string or of an end of document.
        log_probs: the log-probability of each token in nats by the model itself, before temperature, top_k and top_p.
        ended_by: the reason for the end; the length until there is another reason.
    """

    def __init__(self, prompt: Encoded, number: int, seed: int, tokenizer: "Tokenizer", ending: Ending) -> None:
        from lmlab.data.text_stream import StopStrings, TextStream
        from lmlab.models.generation import Row

        self.prompt = prompt.prompt
        self.number, self.seed = number, seed
        stop = () if ending.token is None else (ending.token,)
        self.row = Row(prompt.tokens, seed, stop)
        self.text, self.ended_by = "", LENGTH
        self.tokens: list[int] = []
        self.log_probs: list[float] = []
        self._stream, self._stop = TextStream(tokenizer, prompt.tokens[1:]), StopStrings(ending.strings)
        self._ending = ending
        self._unread: list[int] = []

    def add(self, token: int, log_prob: float) -> None:
        """Add the next token."""
        self.tokens.append(token)
        self.log_probs.append(log_prob)
        if token in self.row.stop:
            self.ended_by = END_OF_DOCUMENT
            return
        self._unread.append(token)
        if self._ending.strings:
            self.read()

    def read(self) -> None:
        """Extend the text by the characters that the tokens so far determine."""
        self._grow(self._stop.add(self._stream.add(*self._unread)))
        self._unread = []

    def finish(self) -> None:
        """Extend the text by the remaining characters after the last token."""
        self._grow(self._stop.add(self._stream.add(*self._unread) + self._stream.rest()))
        self._grow(self._stop.rest())
        self._unread = []

    def _grow(self, text: str) -> None:
        self.text += text
        if self._stop.reached:
            self.row.ended, self.ended_by = True, STOP

    def record(self, run: str, each_token: bool = False) -> dict[str, Any]:
        """Return a record of the text, with the other keys of the prompt's record.

        Args:
            each_token: include every token and its log-probability.
        """
        of_tokens = {"token_ids": self.tokens, "log_probabilities": self.log_probs} if each_token else {}
        return {
            "prompt": self.prompt.text,
            "text": self.text,
            "tokens": len(self.tokens),
            "ended_by": self.ended_by,
            "mean_log_probability": sum(self.log_probs) / len(self.log_probs),
            **of_tokens,
            "sample": self.number + 1,
            "seed": self.seed,
            "run": run,
            **self.prompt.others,
        }


KEYS = (
    *("text", "tokens", "ended_by", "mean_log_probability", "token_ids", "log_probabilities", "sample", "seed", "run"),
)
"""Keys of :meth:`Sample.record` that no prompt's record may have."""


def compute(samples: Sequence[Sample], trained: "Trained", length: int, sampler: "Sampler", bar: ProgressBar) -> None:
    """Continue several prompts together until all have ended."""
    for sample in drawn(samples, trained, length, sampler):
        bar.advance(1)
        if sample.row.ended:
            bar.shorten(length - len(sample.tokens))
    for sample in samples:
        sample.finish()


def stream(sample: Sample, trained: "Trained", length: int, sampler: "Sampler") -> None:
    """Continue one prompt, and print the text while it is generated."""
    sys.stdout.write(sample.prompt.text)
    printed = 0
    for _ in drawn([sample], trained, length, sampler):
        sample.read()
        sys.stdout.write(printable(sample.text[printed:]))
        sys.stdout.flush()
        printed = len(sample.text)
    sample.finish()
    print(printable(sample.text[printed:]), flush=True)  # before the next output to standard error


def drawn(samples: Sequence[Sample], trained: "Trained", length: int, sampler: "Sampler") -> Iterator[Sample]:
    """Draw tokens for all samples until they have ended, and yield the sample of each token."""
    from lmlab.models.generation import generate

    rows = [sample.row for sample in samples]
    for row, token, log_prob in generate(trained.model, rows, length, sampler, trained.context):
        samples[row].add(token, log_prob)
        yield samples[row]


@dataclass(frozen=True)
class Output:
    """Writer of texts to standard output, in the order of their prompts.

    Attributes:
        run: id of the run whose model wrote the texts.
        several_prompts, several_samples: whether texts are labelled with the number of their prompt or sample.
        each_token: records include every token and its log-probability.
    """

    run: str
    format: Literal["text", "jsonl"]
    several_prompts: bool
    several_samples: bool
    each_token: bool

    def write(self, samples: Sequence[Sample]) -> None:
        """Write complete texts."""
        from lmlab.commands import tables

        for sample in samples:
            if self.format == "jsonl":
                sys.stdout.write(dumps(sample.record(self.run, self.each_token)) + "\n")
            else:
                if name := self._name(sample):
                    tables.say("", name)
                sys.stdout.write(f"{sample.prompt.text}{printable(sample.text)}\n")
        sys.stdout.flush()

    def _name(self, sample: Sample) -> str:
        prompt = [f"prompt {sample.prompt.number}"] * self.several_prompts
        return ", ".join([*prompt, *[f"sample {sample.number + 1}"] * self.several_samples])
