"""``lmlab generate``: a run's model continues a prompt, streamed to the terminal token by token."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.commands import results, tables
from lmlab.config import Paths
from lmlab.errors import UserError
from lmlab.runs.lookup import find


def task(
    paths: Paths,
    run: str | None,
    prompt: str,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    greedy: bool,
    samples: int,
    seed: int,
    checkpoint: str,
    accelerator: str,
    trust: bool = False,
) -> None:
    """Print the prompt and its continuation; standard output holds nothing else."""
    found = find(run, Path(paths["runs"]))
    for option, value in (("length", length), ("samples", samples)):
        if value < 1:
            raise UserError(f"{option}={value}: expected at least 1")
    import torch

    from lmlab.data.tokenizers import encode_prompt, left_out, unknown_parts
    from lmlab.models.generation import Sampler, generate, tokens_left_out
    from lmlab.training.load import load_trained
    from lmlab.training.spinning import share_cores
    from lmlab.training.trainer import device_kind

    share_cores()
    device = device_kind(accelerator)
    trained = load_trained(found, checkpoint, device, trust)
    tokenizer = trained.tokenizer
    prompt_N = encode_prompt(tokenizer, prompt, "prompt")
    prompt_BT = torch.tensor([[tokenizer.separator, *map(int, prompt_N)]], device=device)
    # The separator is the first token that is left out, and no part of what was typed.
    unseen = tokens_left_out(trained.model, prompt_BT, trained.context) - 1
    for line in (unknown_parts(tokenizer, prompt, "prompt"), left_out(unseen, trained.context, "prompt")):
        if line:
            print(line, file=sys.stderr)
    started = time.perf_counter()
    for number in range(samples):
        if samples > 1:
            tables.say("", f"sample {number + 1}")
        sampler = Sampler(temperature, top_k, top_p, greedy, seed + number)
        sys.stdout.write(prompt)
        stream = TextStream(tokenizer, prompt_N)
        for token_B in generate(trained.model, prompt_BT, length, sampler, trained.context):
            sys.stdout.write(results.printable(stream.add(int(token_B))))
            sys.stdout.flush()
        print(results.printable(stream.rest()), flush=True)  # before the line below, also where both go to one place
    rate = samples * length / (time.perf_counter() - started)
    print(f"({found.path.name}, {rate:,.0f} tokens/s)", file=sys.stderr)


CONTEXT = 16
"""Tokens before a new one that can have a part in how it reads: the bytes of a character, the word before it."""


class TextStream:
    """Turns tokens into text as they come, holding back a character until all of its bytes are there.

    Args:
        prompt_N: what stands before them. A space between two words may be part of neither, so a token is decoded
            together with some that precede it.
    """

    def __init__(self, tokenizer: Any, prompt_N: np.ndarray) -> None:
        self._tokenizer = tokenizer
        self._tokens = [int(token) for token in prompt_N[-CONTEXT:]]
        self._written = len(self._decode())

    def _decode(self) -> str:
        return str(self._tokenizer.decode(np.array(self._tokens, np.int64)))

    def add(self, token: int) -> str:
        """Return the text that ``token`` completes."""
        self._tokens.append(token)
        text = self._decode()
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        new = text[self._written :]
        if len(self._tokens) > 2 * CONTEXT:  # all of it has been written: what is long past need not be kept
            del self._tokens[:-CONTEXT]
            text = self._decode()
        self._written = len(text)
        return new

    def rest(self) -> str:
        """Return what was held back, once no more tokens follow."""
        return self._decode()[self._written :]
