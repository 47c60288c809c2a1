"""The interface of engines: take jobs, and report those that have ended."""

from abc import ABC, abstractmethod

from lmlab.config.targets import resolve_target
from lmlab.errors import UserError
from lmlab.sweeps.sweep import Job

MOST = 1000
"""Maximum number of simultaneous runs on a machine: each is a separate process."""


def check_memory(memory: float | None) -> None:
    """Refuse an unrealistic memory limit of a run. Raises ``UserError``."""
    if memory is not None and not 1e-3 <= memory <= 1e6:
        raise UserError(f"hydra.launcher.memory={memory}: expected gigabytes above 0, from 0.001 to 1000000, or null")


def computes_elsewhere(target: str) -> bool:
    """Return whether the engine that ``hydra/launcher`` names computes runs on other machines."""
    engine = resolve_target(target, "hydra.launcher")
    return isinstance(engine, type) and issubclass(engine, Engine) and engine.elsewhere


class Engine(ABC):
    """Executes run directories. Engines differ in location only; directories and resumption are the same."""

    shows_runs = True
    """True if the output of runs goes to their logs, so that the sweep shows all runs in one table."""

    elsewhere = False
    """True if runs are computed on other machines, so that this one needs no devices."""

    @property
    @abstractmethod
    def free(self) -> int:
        """Number of jobs that can be submitted now."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Accept a job whose ``run`` is prepared."""

    @abstractmethod
    def poll(self, seconds: float) -> list[Job]:
        """Wait at most ``seconds`` for a job to end; return ended jobs, with their status and error."""

    @abstractmethod
    def stop(self, job: Job, why: str) -> None:
        """Ask a job to write its state and end; :meth:`poll` returns it when it has."""

    @abstractmethod
    def kill(self) -> None:
        """Kill all jobs at once; their last checkpoints remain."""
