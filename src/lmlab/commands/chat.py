"""``lmlab chat``: a conversation with a run's model in the terminal, as one text that both extend in turn."""

import sys
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from lmlab.commands.generate import Sample, drawn, encoded, say_notes, unknown_to, unseen_by
from lmlab.commands.prompts import Prompt
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths
from lmlab.errors import UserError
from lmlab.models.decoding_options import read_stop
from lmlab.runs.lookup import find
from lmlab.surroundings import printable
from lmlab.training.threads import check_threads, use_threads

if TYPE_CHECKING:
    from lmlab.models.decoding import Decoding
    from lmlab.training.load import Trained

NEW, TEXT = "/new", "/text"
"""Lines that start the conversation again, and that print its text."""

_FIELD = "{text}"


def main(
    paths: Paths,
    run: str | None,
    opening: str,
    turn: str,
    stop: str | list[str] | None,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    greedy: bool,
    repetition_penalty: float,
    seed: int,
    checkpoint: str,
    accelerator: str,
    threads: int | None,
    trust: bool = False,
) -> None:
    """Answer each line of standard input on standard output, until it ends."""
    check_threads(threads)
    if _FIELD not in turn:
        raise UserError(f"turn={turn}: expected a text with {_FIELD}, which stands for a line of yours")
    stop_strings = read_stop(stop)
    source = find(run, Folders.of(paths).runs)

    from lmlab.models.decoding import Decoding
    from lmlab.training.load import load_trained
    from lmlab.training.trainer import device_kind

    decoding = Decoding(
        temperature, top_k, top_p, greedy, length, repetition_penalty=repetition_penalty, stop=tuple(stop_strings)
    )
    use_threads(threads)
    trained = load_trained(source, checkpoint, device_kind(accelerator), trust)
    commands = f"{NEW} starts again, {TEXT} shows the text, Ctrl-C ends an answer, Ctrl-D the conversation"
    print(f"{source.path.name}: type a line ({commands})", file=sys.stderr)
    conversation = Conversation(trained, decoding, opening, turn, seed)
    for line in _lines():
        if line == NEW:
            conversation = Conversation(trained, decoding, opening, turn, seed)
        elif line == TEXT:
            print(printable(conversation.text))
        elif line:
            with suppress(KeyboardInterrupt), closing(conversation.answer(line)) as answer:
                for part in answer:
                    sys.stdout.write(printable(part))
                    sys.stdout.flush()
            print(flush=True)


def _lines() -> Iterator[str]:
    """Yield the lines of standard input; a terminal shows where to type."""
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\r\n")


class Conversation:
    """One text, which the user's lines and the model's answers extend in turn.

    Args:
        opening: the text before the first turn.
        turn: what a line adds to the text, with ``{text}`` in place of the line.
        seed: seed of the first answer; each further answer has the next one.

    Attributes:
        text: the conversation so far.
    """

    def __init__(self, trained: "Trained", decoding: "Decoding", opening: str, turn: str, seed: int) -> None:
        self.text = opening
        self._trained = trained
        self._decoding = decoding
        self._turn = turn
        self._seed = seed

    def answer(self, line: str) -> Generator[str]:
        """Add a line, and yield the parts of the model's answer, which is added as well; an interrupt ends the answer.

        Raises:
            UserError: the tokenizer cannot encode the line.
        """
        said = self._turn.replace(_FIELD, line)
        prompt = encoded(self._trained, Prompt(self.text + said))
        say_notes(unknown_to(self._trained, [encoded(self._trained, Prompt(line))]))
        say_notes(unseen_by(self._trained, [prompt], self._trained.context))
        tokenizer = self._trained.tokenizer
        sample = Sample(prompt, 0, self._seed, tokenizer, self._decoding.stop, tokenizer.end_of_document)
        self._seed += 1
        written = 0
        try:
            for _ in drawn([sample], self._trained, self._decoding):
                sample.read()
                yield sample.text[written:]
                written = len(sample.text)
            sample.finish()
            yield sample.text[written:]
        finally:
            self.text += f"{said}{sample.text}\n"
