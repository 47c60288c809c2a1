"""Check of the sizes of a sweep's models before any of its jobs is computed."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands.composing import composed
from lmlab.config import Config
from lmlab.errors import UserError
from lmlab.overrides import option_of
from lmlab.processes.spawn import warm_up
from lmlab.runs.lookup import existing
from lmlab.sweeps.search import Search, Space
from lmlab.sweeps.search.search import Queue
from lmlab.sweeps.search.varied import Interval

NO_PART_IN_SIZE = {
    *("seed", "name", "tags", "rerun", "progress", "paths", "log_every", "budget", "validation"),
    *("objective", "optimizer", "scheduler", "trainer", "execution", "callbacks", "logger", "start"),
}
"""Sections of a configuration that the number of parameters does not depend on."""


def check(launcher: Any, space: Space, search: Search, here: bool) -> None:
    """Refuse a sweep if a model cannot have its requested size.

    A job that cannot be composed or trained for another reason is skipped, because it will fail by itself. Jobs that
    have a run already are not checked if all have one. Nothing heavy is imported if no job requests a size.

    Args:
        here: it is this machine that trains.

    Raises:
        UserError: the message covers all models, and names a size that all can have.
    """
    jobs = _differing(search, space)
    if not any("parameters" in option_of(word) for job in jobs for word in job):
        first = _composed(launcher, jobs[:1])
        if not first or first[0]["model"].get("parameters") is None:
            return
    common = set(jobs[0]).intersection(*jobs)
    names = [" ".join(word for word in job if word not in common and _counts(word)) or "the model" for job in jobs]
    named = [(name, config) for name, job in zip(names, jobs, strict=True) for config in _composed(launcher, [job])]
    sized = [(name, config) for name, config in named if config["model"].get("parameters") is not None]
    if all(existing(config).exists for _, config in sized):
        return
    warm_up()
    from lmlab.training import preflight
    from lmlab.training.sizing import SizeRequest, check_sizes

    requests = []
    for name, config in sized:
        try:
            vocabulary = preflight.check(config, here).tokenizer.size
        except UserError:
            continue
        requests.append(SizeRequest(name, config["model"], vocabulary, config["batch"]["context"]))
    check_sizes(requests)


def _differing(search: Search, space: Space) -> list[list[str]]:
    """Return the overrides of one job for each combination of the options that influence the size.

    For a search that does not know its jobs in advance, these are all combinations of the lists among these options.
    """
    jobs: Iterable[Sequence[str]]
    if isinstance(search, Queue):
        jobs = (proposal.overrides for proposal in search.waiting)
    else:
        lists = [
            [option.at(0.5)] if isinstance(option, Interval) else option.values[: None if _counts(option.key) else 1]
            for option in space.varied
        ]
        keys = [option.key for option in space.varied]
        jobs = (space.job(dict(zip(keys, values, strict=True))) for values in itertools.product(*lists))
    kinds = {tuple(word for word in job if _counts(word)): list(job) for job in jobs}
    return list(kinds.values()) or [space.fixed]


def _counts(word: str) -> bool:
    return option_of(word).partition(".")[0] not in NO_PART_IN_SIZE


def _composed(launcher: Any, jobs: Iterable[Sequence[str]]) -> list[Config]:
    """Return the configurations of the jobs that can be composed."""
    configs = []
    for job in jobs:
        try:
            config = composed(launcher, job, "")
        except (UserError, HydraException, OmegaConfBaseException):
            continue
        if isinstance(config.get("model"), dict):
            configs.append(config)
    return configs
