"""Checks of a configuration that do not need torch, which takes a second to import."""

import inspect
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config, leaves
from lmlab.config.overrides import written
from lmlab.errors import UserError
from lmlab.numerals import is_number
from lmlab.training.schedules import as_schedule
from lmlab.training.trainer import check_shares
from lmlab.wandb.settings import WandbOptions, check_settings

WITHOUT_TORCH = ("data", "tokenizer", "scheduler", "trainer")
"""Sections whose targets do not import torch."""

_OF_NUMBERS = re.compile(
    "overflow|too large|too big|out of range|exceeded|maxsize|negative dimension|infinity|NaN|memory", re.IGNORECASE
)
"""Words in the errors of libraries about an extreme number."""


def check_sections(config: Config) -> Experiment:
    """Check all options that need neither torch nor data, and return the configuration as an experiment.

    Raises:
        UserError: an option is wrong; the message names it.
    """
    experiment = Experiment.of(config)
    for section in WITHOUT_TORCH:
        check_choice(config, section)
    if WandbOptions.of(config) is not None:
        check_settings()
    check_schedule(experiment)
    for section in ("data", "tokenizer"):
        with numbers_of(config, section):
            part = build(config[section])
        if section == "data" and experiment.batch.separate and not getattr(part, "has_documents", False):
            name = getattr(part, "name", "these data")
            raise UserError(
                f"batch.documents=separate: data={name} has no documents of text; choose batch.documents=packed"
            )
    check_shares(experiment.trainer, experiment.batch.size)
    if experiment.keeps_average and experiment.trainer.strategy == "fsdp":
        raise UserError("trainer.strategy=fsdp: not with callbacks=ema (choose strategy=ddp, or callbacks=default)")
    return experiment


def check_choice(config: Config, section: str) -> None:
    """Refuse a section without a choice, or with a choice whose parameters do not fit. Raises ``UserError``."""
    if "_target_" not in config[section]:
        raise UserError(f"{section}: nothing is chosen, give an option as {section}=...")
    validate(config[section], section)


def check_schedule(experiment: Experiment) -> None:
    """Refuse an invalid schedule, or one that does not fit the run. Raises ``UserError``."""
    with numbers_of(experiment.config, "scheduler", "budget"):
        built = build(experiment.scheduler)
        expected = "expected schedule(step, total) to return the factor on the learning rate"
        name = type(built).__name__
        try:
            inspect.signature(built).bind(0, experiment.steps)
        except TypeError as error:
            raise UserError(f"scheduler: {name} cannot be called ({error}); {expected}") from error
        schedule = as_schedule(built)
        factor = schedule(0, experiment.steps)
        if not isinstance(factor, (int, float)):
            raise UserError(f"scheduler: {name} returned {factor!r} for step 0; {expected}")
        schedule.check(validations=(experiment.steps - 1) // experiment.validation_interval)


@contextmanager
def numbers_of(config: Config, *sections: str) -> Iterator[None]:
    """Convert errors of libraries about a number to a ``UserError`` that names the most extreme one of ``sections``."""
    try:
        yield
    except (ArithmeticError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        line = next(iter(str(error).splitlines()), "")
        if isinstance(error, UserError) or not (isinstance(error, ArithmeticError) or _OF_NUMBERS.search(line)):
            raise
        options = [(key, value) for key, value in leaves(config) if key.startswith(sections) and is_number(value)]
        if not options:
            raise
        key, value = max(options, key=lambda option: _extremity(option[1]))
        raise UserError(f"{key}={written(value)}: cannot be computed with ({line})") from error


def _extremity(value: int | float) -> float:
    """Return the absolute logarithm of a number's magnitude."""
    return math.inf if math.isnan(value) else abs(math.log(abs(value))) if value else 0.0
