"""How Hydra finds lmlab's sweeper and launcher: it accepts classes of this package only. Imports nothing heavy."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class LmlabLauncher(Launcher):
    """Has an engine execute the runs of a sweep; also for sweepers that are not lmlab's own.

    Args:
        engine: the class in ``lmlab.sweeps.engines``.
        options: its arguments.
    """

    def __init__(self, engine: str, **options: Any) -> None:
        self.node = {"_target_": engine, **options}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from lmlab.commands.launching import launch

        return launch(self, [list(words) for words in job_overrides], initial_job_idx)


class LmlabSweeper(Sweeper):
    """Has the search in the section ``sweep`` decide what to compute, and the launcher's engine compute it.

    Args:
        params: what is searched, beside the command line: override to values.
        retry: compute jobs again that failed when this sweep was conducted before.
    """

    def __init__(self, params: Any = None, retry: bool = True) -> None:
        self.params, self.retry = params or {}, retry

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from lmlab.commands.launching import sweep

        return sweep(self, [*(f"{key}={value}" for key, value in self.params.items()), *arguments])


class StudySweeper(LmlabSweeper):
    """Has the section ``study`` decide what to compute, for ``lmlab study``."""

    def sweep(self, arguments: list[str]) -> Any:
        from lmlab.commands.study import conduct

        return conduct(self, arguments)
