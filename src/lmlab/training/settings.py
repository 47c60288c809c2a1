"""The plain sections of a training configuration: sizes and counts with their ranges, and the seeds of its steps."""

import hashlib
import math
from dataclasses import dataclass

from lmlab.config.check import check_arguments
from lmlab.config.nodes import Config
from lmlab.errors import UserError


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of all random draws of one micro-batch on one rank; different for any (seed, step, rank)."""
    digest = hashlib.blake2b(f"{seed},{step},{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


MOST_TOKENS_PER_STEP = 2**40
"""Limit of tokens in a step: above any known run, and small enough for 64-bit arithmetic."""

SCORED_PER_TRAINED = 2
"""Tokens that are scored in the time of training on one token; measured values are 2.3 to 3."""


def _at_least(least: int, **options: int | None) -> None:
    for option, value in options.items():
        if value is not None and value < least:
            raise UserError(f"{option.replace('__', '.')}={value}: expected a whole number of at least {least}")


@dataclass(frozen=True)
class Batch:
    """Section ``batch``: ``size`` sequences of ``context`` tokens in an optimizer step, over all devices."""

    size: int
    context: int
    carry_state: bool = False

    def __post_init__(self) -> None:
        _at_least(1, batch__size=self.size, batch__context=self.context)
        if self.size * self.context > MOST_TOKENS_PER_STEP:
            option = f"batch.size={self.size}" if self.size > self.context else f"batch.context={self.context}"
            raise UserError(f"{option}: expected an optimizer step of at most {MOST_TOKENS_PER_STEP:,} tokens")


@dataclass(frozen=True)
class Budget:
    """Section ``budget``: the number of tokens of training. A whole number may be written as 1e6."""

    tokens: int | float

    def __post_init__(self) -> None:
        if isinstance(self.tokens, float) and not self.tokens.is_integer():
            raise UserError(f"budget.tokens={self.tokens}: expected a whole number")
        object.__setattr__(self, "tokens", int(self.tokens))
        _at_least(1, budget__tokens=int(self.tokens))


@dataclass(frozen=True)
class Validation:
    """Section ``validation``: at most ``times`` in a run, evenly spaced, on the first ``tokens`` or (``None``) all.

    All but the last score a part of these, for which they together take the ``share`` of the training's operations, or
    (``None``) all.
    """

    times: int
    tokens: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        _at_least(1, validation__times=self.times, validation__tokens=self.tokens)
        if self.share is not None and not 0 < self.share <= 1:
            raise UserError(f"validation.share={self.share}: expected a number above 0 and at most 1, or null for all")


@dataclass(frozen=True)
class Settings:
    """The plain sections of a training configuration and values derived from them."""

    seed: int
    log_every: int
    batch: Batch
    budget: Budget
    validation: Validation

    @classmethod
    def of(cls, config: Config) -> "Settings":
        """Read a configuration. Raises ``UserError`` for an unknown option, a wrong type or a value out of range."""
        sections: tuple[tuple[str, type[Batch] | type[Budget] | type[Validation]], ...]
        sections = (("batch", Batch), ("budget", Budget), ("validation", Validation))
        for name, section in sections:
            check_arguments(section, config[name], f"{name}.")
        _at_least(0, seed=config["seed"])
        _at_least(1, log_every=config["log_every"])
        options = {name: section(**config[name]) for name, section in sections}
        return cls(config["seed"], config["log_every"], **options)  # type: ignore[arg-type]

    @property
    def tokens_per_step(self) -> int:
        """Return the tokens that all devices together read in one optimizer step."""
        return self.batch.size * self.batch.context

    @property
    def steps(self) -> int:
        """Return the optimizer steps of the run: the token budget, rounded up to whole steps."""
        return math.ceil(self.budget.tokens / self.tokens_per_step)

    @property
    def validation_interval(self) -> int:
        """Return the optimizer steps between validations."""
        return math.ceil(self.steps / self.validation.times)

    @property
    def validation_part(self) -> int | None:
        """Return the tokens that each validation but the last scores; ``None``: all.

        Training on a token is assumed to take twice as long as scoring one; measured ratios are two to three.
        """
        if self.validation.share is None:
            return None
        before_last = math.ceil(self.steps / self.validation_interval) - 1
        trained = self.steps * self.tokens_per_step
        return int(SCORED_PER_TRAINED * self.validation.share * trained / max(1, before_last))
