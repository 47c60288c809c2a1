"""Samples of generated text during training."""

import logging
import sys
from typing import cast

import numpy as np
import pytorch_lightning as pl

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
    """After every validation, continues ``prompt`` by ``length`` tokens, always with the same random draws.

    Each text is a line of ``samples.jsonl`` and goes to every logger that can show text.

    Args:
        prompt: empty for the start of a document.
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
        self._said_what_is_left_out = False
        self.latest = ""
        """The newest text."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(LanguageModeling, pl_module)
        text = self.latest = self.sample(module)  # on every rank: the weights may be in shards
        if not trainer.is_global_zero:
            return
        row = {"step": module.global_step, "tokens": module.tokens_seen, "text": text}
        append_row(self.run.samples, row)
        flush(self.run.samples)
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_sample(row)

    def sample(self, module: LanguageModeling) -> str:
        """Return the prompt and its continuation."""
        was_training = module.model.training
        module.model.eval()
        row = Row([self.tokenizer.separator, *map(int, self.prompt_N)], module.seed)
        if not self._said_what_is_left_out:
            self._said_what_is_left_out = True
            # The separator is the first of them.
            unseen = tokens_left_out(module.model, len(row.prompt), self.context) - 1
            self._say(left_out(unseen, self.context, _OPTION))
        try:
            tokens = generate(module.model, [row], self.decoding, self.context)
            drawn = [token for _, token, _ in tokens]
        except UserError as error:
            raise CannotGoOn(f"diverged at step {module.global_step}: {error}") from error
        module.model.train(was_training)
        # Decoded together, because a space between two words may be part of neither.
        continued = self.tokenizer.decode(np.concatenate([self.prompt_N, np.array(drawn, self.prompt_N.dtype)]))
        return self.prompt + continued[len(self.tokenizer.decode(self.prompt_N)) :]

    def _say(self, line: str) -> None:
        if line and get_rank() == 0:
            logging.getLogger("lmlab").warning(line)
            print(f"{self.run.path.name}: {line}", file=sys.stderr)
