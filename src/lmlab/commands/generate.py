"""``lmlab generate``: continue prompts with a run's model; a single text is streamed, several are computed together."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from lmlab.commands.prompts import Prompt, check_keys, output_file, read_prompts
from lmlab.commands.templates import check_input, examples_of, prompt_of
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths
from lmlab.config.overrides import written
from lmlab.errors import UserError
from lmlab.models import decoding_options
from lmlab.progress import ProgressBar
from lmlab.runs.files import dumps, write_whole
from lmlab.runs.lookup import find
from lmlab.surroundings import printable
from lmlab.training.threads import check_threads, use_threads

if TYPE_CHECKING:
    from lmlab.data.examples import Examples, Template
    from lmlab.data.tokenizers import Tokenizer
    from lmlab.models.decoding import Decoding
    from lmlab.training.load import Trained

STOP, END_OF_DOCUMENT, LENGTH = "stop", "end_of_document", "length"
"""Reasons for the end of a text: a stop string, the end-of-document token, the length limit."""

DEFAULTS = {"temperature": 0.8, "length": 200}
"""Settings of decoding where neither the command line nor a task has others."""

NOTES = 5
"""The largest number of notes on prompts that are printed."""


def main(
    paths: Paths,
    run: str | None,
    prompt: str,
    prompts: str | None,
    length: int | None,
    stop: str | list[str] | None,
    end_of_document: bool,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    greedy: bool | None,
    repetition_penalty: float | None,
    beams: int | None,
    length_penalty: float | None,
    best: int,
    options: str | list[str] | None,
    score_per: Literal["text", "token", "byte"],
    samples: int,
    seed: int,
    format: Literal["text", "jsonl"] | None,
    output: str | None,
    log_probabilities: bool,
    batch_size: int,
    checkpoint: str,
    accelerator: str,
    threads: int | None,
    trust: bool = False,
    input: str | None = None,
    data: dict[str, Any] | None = None,
    tokenizer: dict[str, Any] | None = None,
    extract: bool | None = None,
) -> None:
    """Write prompts and their continuations, and nothing else, to standard output or a file."""
    for option, value in (("length", length), ("samples", samples), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{option}={value}: expected at least 1")
    check_threads(threads)
    settings = decoding_options.with_values(
        stop=stop,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        greedy=greedy,
        repetition_penalty=repetition_penalty,
        beams=beams,
        length_penalty=length_penalty,
        length=length,
        extract=extract,
    )
    check_samples(samples, settings.get("beams", 1))
    texts = prompts_of(prompt, prompts)
    check_input(input, prompt, prompts, data)
    if extract and input is None:
        raise UserError("extract=true: needs the input of a task to extract from, input=...; leave it out")
    file = output_file(output, prompts, (".txt", ".jsonl"))
    format = format_of(format, file)
    if log_probabilities and format != "jsonl":
        raise UserError(f"log_probabilities=true: cannot be combined with format={format}; choose format=jsonl")
    keys: Sequence[str] = KEYS
    options_of_prompts: list[list[str]] = []
    if options is not None:
        from lmlab.commands import choices

        if log_probabilities or samples > 1 or settings.get("beams", 1) > 1:
            raise UserError(
                f"options={written(options)}: writes no text of its own; leave out log_probabilities, samples and beams"
            )
        keys, options_of_prompts = choices.KEYS, choices.options_of(texts, options)
    if format == "jsonl":
        check_keys(texts, keys, ", or choose format=text")
    source = find(run, Folders.of(paths).runs)
    defaults: decoding_options.Settings = DEFAULTS
    if input is not None:
        examples = examples_of(input, data, source)
        texts, defaults = [prompt_of(input, examples, paths)], examples.decoding | {"length": examples.length}
    settings = decoding_options.replaced(defaults, settings)
    settings.pop("seed", None)  # that of a task is for its validation
    if input is not None:  # the end of an answer, for tokenizers without a token for it
        settings["stop"] = [*settings.get("stop", ()), "\n"]
    decoding = replace(decoding_options.decoding_of(settings), best=best)
    check_samples(samples, decoding.beams)
    length, beams = decoding.length, decoding.beams

    from lmlab.training.load import load_trained
    from lmlab.training.trainer import device_kind

    use_threads(threads)
    trained = load_trained(source, checkpoint, device_kind(accelerator), trust)
    if options is not None:
        results = choices.choose(trained, texts, options_of_prompts, score_per, batch_size)
        write_to(file, lambda stream: choices.write(results, stream, format, source.id, score_per))
        return
    encoded_prompts = [encoded(trained, one) for one in texts]
    if input is not None:
        encoded_prompts = [truncated(one, examples.template, trained.context - length) for one in encoded_prompts]
    say_notes(unknown_to(trained, encoded_prompts) + unseen_by(trained, encoded_prompts, trained.context))

    end_token = trained.tokenizer.end_of_document if end_of_document else None
    if decoding.extract:
        shortened = examples.with_decoding({"length": length})
        encoded_prompts = [extracting(one, trained, shortened) for one in encoded_prompts]
    if input is not None and (end_of_document or decoding.extract):
        end_token = trained.tokenizer.separator  # as in the task's scores
    several = best if beams > 1 else samples
    total = len(encoded_prompts) * several
    records = Output(source.id, format, len(encoded_prompts) > 1, several > 1, log_probabilities, decoding.signature())
    tally = Tally()

    def write(stream: TextIO) -> None:
        with ProgressBar("Generating", total * length, sys.stderr.isatty(), unit="tokens") as bar:
            for batch in continued(encoded_prompts, trained, decoding, end_token, samples, seed, batch_size, bar):
                with bar.hidden():
                    records.write(batch, stream)
                tally.add(batch)

    if file is None and total == beams == 1 and format == "text":
        sample = Sample(encoded_prompts[0], 0, seed, trained.tokenizer, decoding.stop, end_token)
        stream_text(sample, trained, decoding)
        tally.add([sample])
    else:
        write_to(file, write)
    print(f"({source.path.name}: {tally.line()})", file=sys.stderr)


def check_samples(samples: int, beams: int) -> None:
    """Refuse to sample several texts by beam search. Raises ``UserError``."""
    if samples > 1 and beams > 1:
        raise UserError(
            f"samples={samples}: cannot be combined with beams={beams}, which samples nothing; best={samples} returns "
            "as many texts"
        )


def format_of(format: Literal["text", "jsonl"] | None, file: Path | None) -> Literal["text", "jsonl"]:
    """Return the format, which by default is that of the file's name. Raises ``UserError`` if the two differ."""
    if file is None:
        return format or "text"
    of_name: Literal["text", "jsonl"] = "jsonl" if file.suffix == ".jsonl" else "text"
    if format not in (None, of_name):
        raise UserError(f"format={format}: cannot be combined with output={file}; leave format out")
    return of_name


def write_to(file: Path | None, write: Callable[[TextIO], None]) -> None:
    """Call ``write`` with standard output, or with a new ``file`` that replaces the earlier one once it is complete."""
    if file is None:
        write(sys.stdout)
        return

    def to_path(path: Path) -> None:
        with path.open("w", encoding="utf-8") as stream:
            write(stream)

    write_whole(file, to_path)

    from lmlab.commands import tables

    tables.say(f"Written to {tables.place(file)}")


class Tally:
    """Numbers of texts and tokens, the reasons for their ends, and the rate since this object was created."""

    def __init__(self) -> None:
        self.texts = self.tokens = 0
        self._ended = Counter[str]()
        self._started = time.perf_counter()

    def add(self, samples: Sequence["Sample"]) -> None:
        """Count complete texts."""
        self.texts += len(samples)
        self.tokens += sum(len(sample.tokens) for sample in samples)
        self._ended.update(sample.ended_by for sample in samples)

    def line(self) -> str:
        """Return the numbers on one line."""
        rate = self.tokens / (time.perf_counter() - self._started)
        texts = f"{self.texts} texts, " if self.texts > 1 else ""
        by = ", ".join(f"{why} ({number})" if self.texts > 1 else why for why, number in self._ended.most_common())
        return f"{texts}{self.tokens:,} tokens, {rate:,.0f} tokens/s, ended by {by}"


def prompts_of(prompt: str, prompts: str | None) -> list[Prompt]:
    """Return the prompts. Raises ``UserError`` for a faulty file, or if both ``prompt`` and ``prompts`` are set."""
    if prompts is None:
        return [Prompt(prompt)]
    if prompt:
        raise UserError(f"prompt={prompt}: cannot be combined with prompts={prompts}; leave one of them out")
    return read_prompts(prompts)


@dataclass(frozen=True)
class Encoded:
    """A prompt and its tokens [N], which begin with the separator that precedes every text.

    Attributes:
        allowed: see ``Row.allowed``.
    """

    prompt: Prompt
    tokens: list[int]
    allowed: Callable[[Sequence[int]], Collection[int]] | None = None


def encoded(trained: "Trained", prompt: Prompt) -> Encoded:
    """Encode a prompt. Raises ``UserError`` if the tokenizer cannot encode it."""
    from lmlab.data.tokenizers import encode_prompt

    tokens_N = encode_prompt(trained.tokenizer, prompt.text, prompt.source)
    return Encoded(prompt, [trained.tokenizer.separator, *tokens_N.tolist()])


def extracting(encoded: Encoded, trained: "Trained", examples: "Examples") -> Encoded:
    """Return a prompt whose continuations are extracts of its input."""
    import numpy as np

    text = trained.tokenizer.decode(np.array(encoded.tokens[1:]))
    return replace(encoded, allowed=examples.extracts(trained.tokenizer, text).following)


def truncated(encoded: Encoded, template: "Template", length: int) -> Encoded:
    """Return a prompt with the first tokens only, as many as the task reads, if its template cuts prompts at the end.

    Prompts that are cut at the beginning are left to the model, which may read more of them than the task.

    Args:
        length: tokens with the separator that fit into the context before an answer.
    """
    if template.truncation_side == "left" or not 2 < length < len(encoded.tokens):
        return encoded
    import numpy as np

    separator, *tokens = encoded.tokens
    part = f"the first {length - 1:,} of {len(tokens):,} tokens are read, as many as the task reads"
    print(f"{encoded.prompt.source}: {part}", file=sys.stderr)
    return replace(encoded, tokens=[separator, *template.truncated(np.array(tokens), length - 1).tolist()])


def unknown_to(trained: "Trained", prompts: Sequence[Encoded]) -> list[str]:
    """Return notes for the user on parts of texts that are outside the vocabulary."""
    from lmlab.data.tokenizers import unknown_parts

    notes = (unknown_parts(trained.tokenizer, one.prompt.text, one.prompt.source) for one in prompts)
    return [note for note in notes if note]


def unseen_by(trained: "Trained", prompts: Sequence[Encoded], context: int) -> list[str]:
    """Return notes for the user on tokens of prompts that are left out because the context is too short."""
    from lmlab.data.tokenizers import left_out
    from lmlab.models.reading import first_tokens

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


class Sample:
    """Continuation of a prompt while it is generated.

    Args:
        number: of the texts for the prompt; with beam search its rank, from 0 on.
        stop: strings before which the text ends.
        end_token: the token that ends a document; ``None``: no token ends the text.

    Attributes:
        row: the sequence.
        text: the continuation so far, without the stop string that ended it.
        tokens: the new tokens, including those of a stop string or of an end of document.
        log_probs: the log-probability of each token in nats by the model itself, before penalty, temperature, top_k and
            top_p.
        ended_by: the reason for the end; the length until there is another reason.
        score: the score in beam search; ``None``: it was sampled.
    """

    def __init__(
        self,
        prompt: Encoded,
        number: int,
        seed: int,
        tokenizer: "Tokenizer",
        stop: Sequence[str],
        end_token: int | None,
    ) -> None:
        from lmlab.data.text_stream import StopStrings, TextStream, stop_at
        from lmlab.models.decoding import Row

        self.prompt = prompt.prompt
        self.number, self.seed = number, seed
        stop_tokens = () if end_token is None else (end_token,)
        ends = stop_at(stop, tokenizer, prompt.tokens[1:])
        self.row = Row(prompt.tokens, seed, stop_tokens, ends=ends, allowed=prompt.allowed)
        self.text, self.ended_by = "", LENGTH
        self.tokens: list[int] = []
        self.log_probs: list[float] = []
        self.score: float | None = None
        self._stream, self._stop = TextStream(tokenizer, prompt.tokens[1:]), StopStrings(stop)
        self._unread: list[int] = []

    def add(self, token: int, log_prob: float) -> None:
        """Add the next token."""
        self.tokens.append(token)
        self.log_probs.append(log_prob)
        if token in self.row.stop:
            self.ended_by = END_OF_DOCUMENT
        else:
            self._unread.append(token)

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
            self.ended_by = STOP

    def record(self, run: str, decoding: str, each_token: bool = False) -> dict[str, Any]:
        """Return a record of the text, with the other keys of the prompt's record.

        Args:
            decoding: the settings, as text.
            each_token: include every token and its log-probability.
        """
        sampled = {"sample": self.number + 1, "seed": self.seed}
        searched = {"rank": self.number + 1, "score": self.score}
        of_tokens = {"token_ids": self.tokens, "log_probabilities": self.log_probs} if each_token else {}
        return {
            "prompt": self.prompt.text,
            "text": self.text,
            "tokens": len(self.tokens),
            "ended_by": self.ended_by,
            "mean_log_probability": sum(self.log_probs) / len(self.log_probs),
            **of_tokens,
            **(sampled if self.score is None else searched),
            "decoding": decoding,
            "run": run,
            **self.prompt.others,
        }


KEYS = (
    *("text", "tokens", "ended_by", "mean_log_probability", "token_ids", "log_probabilities"),
    *("sample", "seed", "rank", "score", "decoding", "run"),
)
"""Keys of :meth:`Sample.record` that no prompt's record may have."""


def continued(
    prompts: Sequence[Encoded],
    trained: "Trained",
    decoding: "Decoding",
    end_token: int | None,
    samples: int,
    seed: int,
    batch_size: int,
    bar: ProgressBar,
) -> Iterator[list[Sample]]:
    """Yield complete texts in the order of their prompts, in batches: ``samples`` of each prompt, or the best."""
    if decoding.beams > 1:
        prompts_left = iter(prompts)
        while batch := list(islice(prompts_left, max(1, batch_size // decoding.beams))):
            yield searched(batch, trained, decoding, end_token, bar)
        return
    every = (
        Sample(prompt, number, seed + number, trained.tokenizer, decoding.stop, end_token)
        for prompt in prompts
        for number in range(samples)
    )
    while rows := list(islice(every, batch_size)):
        for sample in drawn(rows, trained, decoding):
            bar.advance(1)
            if sample.row.ended:
                bar.shorten(decoding.length - len(sample.tokens))
        for sample in rows:
            sample.finish()
        yield rows


def searched(
    prompts: Sequence[Encoded], trained: "Trained", decoding: "Decoding", end_token: int | None, bar: ProgressBar
) -> list[Sample]:
    """Return the best continuations of all ``prompts``, found by beam search."""
    from lmlab.models.beam_search import beam_search

    def of_prompt(prompt: Encoded, rank: int = 0) -> Sample:
        return Sample(prompt, rank, 0, trained.tokenizer, decoding.stop, end_token)

    samples = []
    rows = [of_prompt(prompt).row for prompt in prompts]
    # They fit into a batch, so they are searched together.
    results = beam_search(trained.model, rows, decoding, trained.context, len(rows) * decoding.beams)
    for prompt, continuations in zip(prompts, results, strict=True):
        for rank, continuation in enumerate(continuations):
            sample = of_prompt(prompt, rank)
            for token, log_prob in zip(continuation.tokens, continuation.log_probs, strict=True):
                sample.add(token, log_prob)
            sample.finish()
            sample.score = continuation.score
            samples.append(sample)
        bar.advance(decoding.best * decoding.length)
    return samples


def stream_text(sample: Sample, trained: "Trained", decoding: "Decoding") -> None:
    """Continue one prompt, and print the text while it is generated."""
    sys.stdout.write(sample.prompt.text)
    printed = 0
    for _ in drawn([sample], trained, decoding):
        sample.read()
        sys.stdout.write(printable(sample.text[printed:]))
        sys.stdout.flush()
        printed = len(sample.text)
    sample.finish()
    print(printable(sample.text[printed:]), flush=True)  # before the next output to standard error


def drawn(samples: Sequence[Sample], trained: "Trained", decoding: "Decoding") -> Iterator[Sample]:
    """Draw tokens for all samples until they have ended, and yield the sample of each token."""
    from lmlab.models.generation import generate

    rows = [sample.row for sample in samples]
    for row, token, log_prob in generate(trained.model, rows, decoding, trained.context):
        samples[row].add(token, log_prob)
        yield samples[row]


@dataclass(frozen=True)
class Output:
    """Writer of texts to standard output or a file, in the order of their prompts.

    Attributes:
        run: id of the run whose model wrote the texts.
        several_prompts, several_samples: whether texts are labelled with the number of their prompt or sample.
        each_token: records include every token and its log-probability.
        decoding: the settings of decoding, which records include.
    """

    run: str
    format: Literal["text", "jsonl"]
    several_prompts: bool
    several_samples: bool
    each_token: bool
    decoding: str

    def write(self, samples: Sequence[Sample], stream: TextIO) -> None:
        """Write complete texts."""
        from lmlab.commands import tables

        for sample in samples:
            name = self._name(sample)
            if self.format == "jsonl":
                stream.write(dumps(sample.record(self.run, self.decoding, self.each_token)) + "\n")
            elif stream is sys.stdout:
                if name:
                    tables.say("", name)
                stream.write(f"{sample.prompt.text}{printable(sample.text)}\n")
            else:
                stream.write(f"{name}\n" * bool(name) + f"{sample.prompt.text}{sample.text}\n")
        stream.flush()

    def _name(self, sample: Sample) -> str:
        number = f"sample {sample.number + 1}" if sample.score is None else f"rank {sample.number + 1}"
        return ", ".join([f"prompt {sample.prompt.number}"] * self.several_prompts + [number] * self.several_samples)
