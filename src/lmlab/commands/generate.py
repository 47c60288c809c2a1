"""``lmlab generate``: a run's model continues a prompt, streamed to the terminal token by token."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from lmlab.commands import results
from lmlab.config import canonical
from lmlab.errors import UserError
from lmlab.runs.lookup import find


def task(composed: DictConfig) -> None:
    """Print the prompt and its continuation; standard output holds nothing else."""
    wanted = canonical(composed)
    run = find(wanted["run"], Path(wanted["paths"]["runs"]))
    check(wanted)
    import torch

    from lmlab.models.generation import Sampler, generate
    from lmlab.training.load import load_trained
    from lmlab.training.trainer import device_kind

    device = device_kind(wanted["accelerator"])
    trained = load_trained(run, wanted["checkpoint"], device)
    tokenizer = trained.tokenizer
    prompt_BT = torch.tensor([[tokenizer.separator, *map(int, tokenizer.encode(wanted["prompt"]))]], device=device)
    started = time.perf_counter()
    for number in range(wanted["samples"]):
        if wanted["samples"] > 1:
            results.say(f"[bold]sample {number + 1}[/]")
        sampler = Sampler(
            *(wanted[key] for key in ("temperature", "top_k", "top_p", "greedy")), seed=wanted["seed"] + number
        )
        sys.stdout.write(wanted["prompt"])
        stream = TextStream(tokenizer)
        for token_B in generate(trained.model, prompt_BT, wanted["length"], sampler, trained.context):
            sys.stdout.write(stream.add(int(token_B)))
            sys.stdout.flush()
        sys.stdout.write(stream.rest() + "\n")
    rate = wanted["samples"] * wanted["length"] / (time.perf_counter() - started)
    print(f"({run.path.name}, {rate:,.0f} tokens/s)", file=sys.stderr)


def check(wanted: dict[str, Any]) -> None:
    """Refuse values of the wrong kind before anything is loaded. Raises ``UserError``."""
    for key in ("length", "samples"):
        if not isinstance(wanted[key], int) or isinstance(wanted[key], bool) or wanted[key] < 1:
            raise UserError(f"{key}={wanted[key]}: expected a whole number of at least 1")
    for key, kinds, readable in (
        ("temperature", (int, float), "a number above 0"),
        ("top_k", (int, type(None)), "a whole number, or null"),
        ("top_p", (int, float, type(None)), "a number above 0 and at most 1, or null"),
        ("greedy", (bool,), "true or false"),
        ("seed", (int,), "a whole number"),
    ):
        value = wanted[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UserError(f"{key}={value}: expected {readable}")
    wanted["prompt"] = str(wanted["prompt"])


class TextStream:
    """Turns tokens into text as they come, holding back a character until all of its bytes are there."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._written = 0

    def add(self, token: int) -> str:
        """Return the text that ``token`` completes."""
        self._tokens.append(token)
        text = self._tokenizer.decode(np.array(self._tokens))
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        new, self._written = text[self._written :], len(text)
        return new

    def rest(self) -> str:
        """Return what was held back, once no more tokens follow."""
        return str(self._tokenizer.decode(np.array(self._tokens)))[self._written :]
