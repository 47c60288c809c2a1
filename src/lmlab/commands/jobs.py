"""Compose and check the jobs of a sweep before any of them is computed."""

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands import tables
from lmlab.commands.hints import explain, hint_among, only_with
from lmlab.commands.located import located
from lmlab.commands.train import NOT_OF_A_RUN, check_job
from lmlab.config.canonical import canonical
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config, at, keys
from lmlab.config.overrides import is_addition, option_of
from lmlab.errors import UserError, prefixed
from lmlab.processes.spawn import warm_up
from lmlab.runs.lookup import existing
from lmlab.sweeps.engines.engine import computes_elsewhere
from lmlab.sweeps.options import SweepOptions
from lmlab.sweeps.search import Search, Space
from lmlab.sweeps.search.search import Queue
from lmlab.sweeps.search.varied import Interval


def compose(launcher: Any, overrides: list[str], number: int = 0) -> DictConfig:
    """Compose the configuration of a sweep's job, and set it as Hydra's current configuration."""
    composed = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, overrides)
    with open_dict(composed), read_write(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
        composed.hydra.mode = RunMode.MULTIRUN
        composed.hydra.sweep.dir = launcher.config.hydra.sweep.dir
    HydraConfig.instance().set_config(composed)
    with open_dict(composed):
        del composed["hydra"]
    return cast(DictConfig, composed)


def changed(composed: DictConfig, overrides: list[str]) -> DictConfig:
    """Return a copy of a composed configuration with other values of options; no override may choose from a group."""
    if not overrides:
        return composed
    result = copy.deepcopy(composed)
    for override in OverridesParser.create().parse_overrides(overrides):
        if not override.key_or_group.startswith("hydra."):
            OmegaConf.update(result, override.key_or_group, override.value(), merge=True)
    return result


def composed(launcher: Any, words: Sequence[str], where: str) -> Config:
    """Compose the configuration of a run, or of its last stage if it has stages.

    Raises:
        UserError: the message begins with ``where``.
    """
    before = HydraConfig.instance().cfg
    with prefixed(where):
        try:
            config = canonical(compose(launcher, [*words]))
            if config["stages"] is not None:
                from lmlab.commands import stages

                return stages.compose(config["stages"], words)[-1].config
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, "study", words)) from error
        finally:
            HydraConfig.instance().cfg = before
    return located({key: value for key, value in config.items() if key not in NOT_OF_A_RUN})


def plain(node: Any) -> dict[str, Any]:
    """Return a section of a composed configuration as plain values."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(node), resolve=True))


SHOWN = 4
"""Combinations of choices that a message names."""


class Composed:
    """Composer of a sweep's configurations, to determine which options they have.

    Args:
        launcher: Hydra's launcher of the command.
    """

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher
        self.keys: set[str] = set()
        """The options of all configurations composed so far."""

    def lacking(self, groups: Sequence[str], options: Sequence[str]) -> frozenset[str]:
        """Return the options that the configuration with the overrides ``groups`` lacks."""
        if not options:
            return frozenset()
        try:
            loader = self._launcher.hydra_context.config_loader
            composed = loader.load_sweep_config(self._launcher.config, [*groups])
        except (HydraException, OmegaConfBaseException):
            return frozenset()  # the job itself will report the error
        plain = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(plain, dict)
        self.keys.update(key for key in keys(plain) if not key.startswith("hydra."))
        return frozenset(option for option in options if not _has(composed, option))


def space_of(words: Sequence[str], launcher: Any, announced: bool = True) -> Space:
    """Return the search space of a sweep, and print in one line which options only some of its jobs have.

    Args:
        announced: ``False``: do not print this line.

    Raises:
        UserError: a word cannot be read, or no job has the option.
    """
    loader = launcher.hydra_context.config_loader
    zipped = SweepOptions.read(plain(launcher.config.get("sweep") or {})).zipped
    space = Space(words, loader, zipped=zipped)
    if not space.varied_groups:
        return space
    composed = Composed(launcher)
    space = Space(words, loader, composed.lacking, zipped)
    for option, having in space.conditional.items():
        if not having:
            hint = only_with(option) or hint_among(option, composed.keys)
            raise UserError(f"{option}: no such option in any job{hint}")
    if space.conditional and announced:
        parts = [f"{option} only with {_described(having, space)}" for option, having in space.conditional.items()]
        tables.say("; ".join(parts), "Not every job has every option:")
    return space


def _described(having: Sequence[Mapping[str, str]], space: Space) -> str:
    """Return the choices that have an option: the values of one group if they determine it, else combinations."""
    for group in space.varied_groups:
        values = dict.fromkeys(choice[group.key] for choice in having)
        if len(having) == sum(choice[group.key] in values for choice in space.choices):
            return f"{group.key}={','.join(values)}"
    shown = [" ".join(f"{key}={value}" for key, value in choice.items()) for choice in having]
    return " or ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


def _has(composed: DictConfig, option: str) -> bool:
    parent, _, last = option.rpartition(".")
    section = OmegaConf.select(composed, parent, throw_on_missing=False)
    return OmegaConf.is_list(section) or (OmegaConf.is_dict(section) and last in list(section.keys()))


def check_jobs(launcher: Any, space: Space) -> None:
    """Refuse a sweep of runs if an option of a job is wrong, which might otherwise show only after hours.

    The values are checked with every combination of the options of the varied groups, without the data. Each
    combination is composed only once, because composing takes longest.

    Raises:
        UserError: the message names the job.
    """
    if launcher.config.hydra.job.config_name != "train":
        return
    here, objectives = (
        not computes_elsewhere(launcher.node["_target_"]),
        OmegaConf.select(launcher.config, "sweep.objectives") or {},
    )
    before = HydraConfig.instance().cfg
    try:
        with tables.progress_console.status("Checking the jobs"):
            for jobs in space.samples():
                composed = None
                for words in jobs:
                    own = " ".join(word for word in words if word not in space.fixed)
                    try:
                        other = [word for word in words if word not in jobs[0]]
                        if composed is None or any(map(is_addition, other)):
                            composed, other = compose(launcher, words), []
                        config = canonical(changed(composed, other))
                        for objective in map(str, objectives):
                            Experiment.of(config).check_averaged(f"sweep.objectives.{objective}", objective)
                        check_job(config, words, here)
                    except (UserError, HydraException, OmegaConfBaseException) as error:
                        why = str(error) if isinstance(error, UserError) else explain(error, "train", words)
                        named = why.startswith(f"{own}:") or not own
                        raise UserError(why if named else f"{why} (in the job {own})") from error
    finally:
        HydraConfig.instance().cfg = before


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
        if not first or at(first[0], "model.parameters") is None:
            return
    common = set(jobs[0]).intersection(*jobs)
    names = [" ".join(word for word in job if word not in common and _counts(word)) or "the model" for job in jobs]
    named = [(name, config) for name, job in zip(names, jobs, strict=True) for config in _composed(launcher, [job])]
    sized = [(name, config) for name, config in named if at(config, "model.parameters") is not None]
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
        requests.append(SizeRequest.of(name, Experiment.of(config), vocabulary))
    check_sizes(requests)


def _differing(search: Search, space: Space) -> list[list[str]]:
    """Return the overrides of one job for each combination of the options that influence the size.

    For a search that does not know its jobs in advance, these are all combinations of the lists among these options.
    """
    jobs: Iterable[Sequence[str]]
    if isinstance(search, Queue):
        jobs = (proposal.overrides for proposal in search.upcoming())
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
        if isinstance(at(config, "model"), dict):
            configs.append(config)
    return configs
