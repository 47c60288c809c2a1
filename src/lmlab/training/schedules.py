"""Factors on the learning rate: ``schedule(step, total)`` in [0, 1], for step 0 to total - 1."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmlab.errors import UserError


class Schedule(ABC):
    """Base class of schedules. Those that depend on the validations override ``observe`` and the two state methods."""

    follows_validations = False
    """``observe`` may change the factor."""

    @abstractmethod
    def __call__(self, step: int, total: int) -> float:
        """Return the factor on the learning rate of optimizer step ``step`` of ``total``."""

    def check(self, validations: int) -> None:  # noqa: B027
        """Refuse a run that the schedule does not fit. Raises ``UserError``.

        Args:
            validations: number of validations before the last step.
        """

    def observe(self, validation_loss: float) -> None:  # noqa: B027
        """Take note of a validation during training."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore what a checkpoint kept."""


class Function(Schedule):
    """A function of (step, total), or another object that is called like one, with those methods that it has."""

    def __init__(self, function: Callable[[int, int], float]) -> None:
        self.function = function
        self.follows_validations = hasattr(function, "observe")
        for name in {"check", "observe", "state_dict", "load_state_dict"}.intersection(dir(function)):
            setattr(self, name, getattr(function, name))

    def __call__(self, step: int, total: int) -> float:
        return self.function(step, total)


def as_schedule(built: Callable[[int, int], float]) -> Schedule:
    """Return ``built`` as a schedule."""
    return built if isinstance(built, Schedule) else Function(built)


def _steps(option: str, value: int | float, total: int) -> int:
    """Return a number of steps from a number, or from a share of ``total`` below 1."""
    if value < 0:
        raise UserError(f"scheduler.{option}={value}: expected steps, or a share of the run from 0 to 1")
    steps = round(value * total) if value < 1 else int(value)
    if steps > total:
        raise UserError(f"scheduler.{option}={value}: longer than the whole run of {total} steps")
    return steps


def _warm(step: int, warmup: int) -> float:
    """Return a factor that rises linearly to 1 after ``warmup`` steps and is above 0 at the first step."""
    return min(1.0, (step + 1) / (warmup + 1))


def _share(step: int, warmup: int, total: int) -> float:
    """Return the progress from the end of the warm-up (0) to the last step (1)."""
    return min(1.0, (step - warmup) / max(1, total - 1 - warmup))


def _check_floor(floor: float) -> None:
    if not 0 <= floor <= 1:
        raise UserError(f"scheduler.floor={floor}: expected a share from 0 to 1")


@dataclass(frozen=True)
class Constant(Schedule):
    """Linear warm-up, then 1."""

    warmup: int | float = 0

    def __call__(self, step: int, total: int) -> float:
        return _warm(step, _steps("warmup", self.warmup, total))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Linear warm-up, then floor + (1 - floor) (1 + cos(pi t)) / 2 with t from 0 to 1 (Loshchilov & Hutter 2017)."""

    warmup: int | float = 0.05
    floor: float = 0.1

    def __post_init__(self) -> None:
        _check_floor(self.floor)

    def __call__(self, step: int, total: int) -> float:
        warmup = _steps("warmup", self.warmup, total)
        if step < warmup:
            return _warm(step, warmup)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * _share(step, warmup, total))) / 2


@dataclass(frozen=True)
class Linear(Schedule):
    """Linear warm-up, then linear down to ``floor`` at the last step (Devlin et al. 2019, appendix A.2)."""

    warmup: int | float = 0.05
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_floor(self.floor)

    def __call__(self, step: int, total: int) -> float:
        warmup = _steps("warmup", self.warmup, total)
        return _warm(step, warmup) if step < warmup else 1 - (1 - self.floor) * _share(step, warmup, total)


@dataclass(frozen=True)
class InverseSquareRoot(Schedule):
    """Linear warm-up, then sqrt(warmup / step), both counted from 1 (Vaswani et al. 2017, equation 3)."""

    warmup: int | float = 0.05

    def __call__(self, step: int, total: int) -> float:
        warmup = _steps("warmup", self.warmup, total)
        return min(_warm(step, warmup), math.sqrt((warmup + 1) / (min(step, total - 1) + 1)))


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """Linear warm-up, 1, then linear down to ``floor`` at the last step (Hu et al. 2024, section 4.2)."""

    warmup: int | float = 0.05
    decay: int | float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_floor(self.floor)

    def __call__(self, step: int, total: int) -> float:
        warmup, decay = _steps("warmup", self.warmup, total), _steps("decay", self.decay, total)
        if warmup + decay > total:
            raise UserError(
                f"scheduler: warmup={self.warmup} and decay={self.decay} are longer than the run of {total} steps"
            )
        left = max(0, total - 1 - step)
        down = 1.0 if left >= decay else self.floor + (1 - self.floor) * left / decay
        return min(_warm(step, warmup), down)


@dataclass(frozen=True)
class Cooldown(Schedule):
    """Linear down to ``floor`` at the last step, like the end of :class:`WarmupStableDecay`: after a constant rate."""

    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_floor(self.floor)

    def __call__(self, step: int, total: int) -> float:
        return self.floor + (1 - self.floor) * max(0, total - 1 - step) / total


@dataclass
class Plateau(Schedule):
    """Linear warm-up, then 1, times ``factor`` whenever the validation loss stagnates, down to ``floor`` at least.

    It stagnates when more than ``patience`` validations in a row are not ``threshold`` nats per token below the lowest
    loss before them; the count restarts after every reduction. This is torch's ``ReduceLROnPlateau`` with an
    absolute threshold.
    """

    follows_validations = True
    factor: float = 0.25
    patience: int = 0
    threshold: float = 0.0
    floor: float = 0.0
    warmup: int | float = 0

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise UserError(f"scheduler.factor={self.factor}: expected a number between 0 and 1")
        if self.patience < 0:
            raise UserError(f"scheduler.patience={self.patience}: expected at least 0 validations")
        if not (self.threshold >= 0 and math.isfinite(self.threshold)):
            raise UserError(f"scheduler.threshold={self.threshold}: expected at least 0 nats per token")
        _check_floor(self.floor)
        self._lowest = math.inf
        self._stagnant = 0
        self._reduced = 1.0

    def __call__(self, step: int, total: int) -> float:
        return _warm(step, _steps("warmup", self.warmup, total)) * self._reduced

    def observe(self, validation_loss: float) -> None:
        """Record a validation loss; reduce the learning rate if losses have stagnated."""
        if validation_loss < self._lowest - self.threshold:
            self._lowest, self._stagnant = validation_loss, 0
        else:
            self._stagnant += 1
        if self._stagnant > self.patience:
            self._reduced, self._stagnant = max(self._reduced * self.factor, self.floor), 0

    def check(self, validations: int) -> None:
        """Refuse a run too short to reduce anything. Raises ``UserError``.

        Args:
            validations: number of validations before the last step.
        """
        least = self.patience + 2  # one to compare with
        if validations < least:
            raise UserError(
                f"scheduler=plateau: never reduces the learning rate here: that takes {least} validations before the "
                f"last step with scheduler.patience={self.patience}, and this run has {validations} (choose a larger "
                "validation.times, or scheduler=constant)"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self._lowest, "stagnant": self._stagnant, "reduced": self._reduced}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._lowest, self._stagnant, self._reduced = state["lowest"], state["stagnant"], state["reduced"]
