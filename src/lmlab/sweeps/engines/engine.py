"""What every engine does: take jobs, and say which have ended."""

from abc import ABC, abstractmethod

from lmlab.errors import UserError
from lmlab.sweeps.sweep import Job

MOST = 1000
"""Runs at a time on a machine: each is a process of its own."""


def check_memory(memory: float | None) -> None:
    """Refuse a run's memory that no machine can give. Raises ``UserError``."""
    if memory is not None and not 1e-3 <= memory <= 1e6:
        raise UserError(f"hydra.launcher.memory={memory}: expected gigabytes above 0, from 0.001 to 1000000, or null")


class Engine(ABC):
    """Executes run directories. Engines differ in where; the directories, and how a run goes on, are the same."""

    shows_runs = True
    """Whether what runs print goes to their logs, so that the sweep shows them all in one table."""

    elsewhere = False
    """Whether runs are computed on other machines than this one, which then needs none of their devices."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more jobs are taken now."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a job whose ``run`` is prepared."""

    @abstractmethod
    def poll(self, seconds: float) -> list[Job]:
        """Wait at most ``seconds`` for any job to end; return those that have, with their status and error."""

    @abstractmethod
    def stop(self, job: Job, why: str) -> None:
        """Tell a job to write its state and end; :meth:`poll` returns it when it has."""

    @abstractmethod
    def kill(self) -> None:
        """End all jobs at once; what they wrote last stays."""
