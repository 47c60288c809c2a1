"""Samples of generated text during training."""

import logging
import sys
from typing import cast

import numpy as np
import pytorch_lightning as pl

from lmlab.data.tasks import Task
from lmlab.data.tokenizers import Tokenizer, encode_prompt, left_out, unknown_parts
from lmlab.errors import CannotGoOn, UserError
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import generate
from lmlab.models.reading import tokens_left_out
from lmlab.processes.layout import get_rank
from lmlab.runs.files import append_row, flush
from lmlab.runs.run import Run
from lmlab.training.loggers.logger import RunLogger
from lmlab.training.module import LanguageModeling

_OPTION = "callbacks.samples.prompt"


class Samples(pl.Callback):
    """After every validation, continues a prompt by ``length`` tokens, always with the same random draws.

    Each text is a line of ``samples.jsonl`` and goes to every logger that can show text.

    Args:
        prompt: empty: of a task of examples the first prompt of the validation split, which is then answered; of other
            data the start of a document.
        run, tokenizer, context: supplied by the run.
    """

    def __init__(
        self, run: Run, tokenizer: Tokenizer, context: int, prompt: str = "", length: int = 64, temperature: float = 0.8
    ) -> None:
        self.run = run
        self.tokenizer = tokenizer
        self.context = context
        self.prompt = prompt
        # Warn about or refuse a bad prompt now rather than at the first validation.
        self.decoding = Decoding(temperature, length=length)
        self.prompt_N = encode_prompt(tokenizer, prompt, _OPTION)
        self._say(unknown_parts(tokenizer, prompt, _OPTION))
        self._stop: tuple[int, ...] = ()
        self._began = False
        self.latest = ""
        """The newest text; without its prompt, if that is the task's."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(LanguageModeling, pl_module)
        if not self._began:
            self._began = True
            self._begin(module, trainer.datamodule.task)  # type: ignore[attr-defined]
        continued = self.sample(module)  # on every rank: the weights may be in shards
        prompt = self.prompt or self.tokenizer.decode(self.prompt_N)
        text, self.latest = prompt + continued, self.prompt + continued
        if not trainer.is_global_zero:
            return
        row = {"step": module.global_step, "tokens": module.tokens_seen, "text": text}
        append_row(self.run.samples, row)
        flush(self.run.samples)
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_sample(row)

    def sample(self, module: LanguageModeling) -> str:
        """Return the continuation of the prompt."""
        was_training = module.model.training
        module.model.eval()
        row = Row([self.tokenizer.separator, *map(int, self.prompt_N)], module.seed, self._stop)
        try:
            tokens = generate(module.model, [row], self.decoding, self.context)
            drawn = [token for _, token, _ in tokens if token not in self._stop]
        except UserError as error:
            raise CannotGoOn(f"diverged at step {module.global_step}: {error}") from error
        module.model.train(was_training)
        # Decoded together, because a space between two words may be part of neither.
        continued = self.tokenizer.decode(np.concatenate([self.prompt_N, np.array(drawn, self.prompt_N.dtype)]))
        return continued[len(self.tokenizer.decode(self.prompt_N)) :]

    def _begin(self, module: LanguageModeling, task: Task) -> None:
        """Take the prompt of a task that has prompts, and say what the model cannot read of it."""
        if not self.prompt and (prompt_N := _first_prompt(task)) is not None:
            self.prompt_N, self._stop = prompt_N, (self.tokenizer.separator,)
        # The separator is the first token that is left out.
        unseen = tokens_left_out(module.model, 1 + len(self.prompt_N), self.context) - 1
        self._say(left_out(unseen, self.context, _OPTION))

    def _say(self, line: str) -> None:
        if line and get_rank() == 0:
            logging.getLogger("lmlab").warning(line)
            print(f"{self.run.path.name}: {line}", file=sys.stderr)


def _first_prompt(task: Task) -> np.ndarray | None:
    """Return the tokens of the first prompt that a validation scores; ``None`` if the task has no prompts."""
    batch = next(iter(task.batches(task.scored_splits[0], [0])))
    if batch.references is None:
        return None
    first = int((batch.targets[0] >= 0).nonzero()[0])
    return batch.tokens[0, 1 : first + 1].numpy().astype(np.int32)
