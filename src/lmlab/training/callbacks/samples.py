"""Text that the model writes as it learns."""

from typing import cast

import numpy as np
import pytorch_lightning as pl
import torch

from lmlab.data.tokenizers import Tokenizer
from lmlab.models.generation import Sampler, generate
from lmlab.runs.files import append_row, flush
from lmlab.runs.run import Run
from lmlab.training.module import LanguageModeling


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
        self.length = length
        self.temperature = temperature
        Sampler(temperature)  # refuses a bad temperature now rather than at the first validation

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(LanguageModeling, pl_module)
        text = self.sample(module)  # on every rank: the weights may be in shards
        if not trainer.is_global_zero:
            return
        row = {"step": module.global_step, "tokens": module.tokens_seen, "text": text}
        append_row(self.run.samples, row)
        flush(self.run.samples)
        for logger in trainer.loggers:
            if hasattr(logger, "log_sample"):
                logger.log_sample(row)

    def sample(self, module: LanguageModeling) -> str:
        """Return the prompt and its continuation."""
        was_training = module.model.training
        module.model.eval()
        prompt = self.tokenizer.encode_prompt(self.prompt)
        prompt_BT = torch.tensor([[self.tokenizer.separator, *map(int, prompt)]], device=module.device)
        sampler = Sampler(self.temperature, seed=module.seed)
        drawn = [int(token) for token in generate(module.model, prompt_BT, self.length, sampler, self.context)]
        module.model.train(was_training)
        # Decoded together, because a space between two words may be part of neither.
        continued = self.tokenizer.decode(np.concatenate([prompt, np.array(drawn, prompt.dtype)]))
        return self.prompt + continued[len(self.tokenizer.decode(prompt)) :]
