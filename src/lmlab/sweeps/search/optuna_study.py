"""An Optuna study on which several processes can work at once and which survives the end of any of them.

Also builds samplers and pruners by name, and distributions.
"""

import hashlib
import inspect
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lmlab.config.targets import named_parameters
from lmlab.errors import UserError, first_line, nearest
from lmlab.sweeps.search.space import Space
from lmlab.sweeps.search.varied import Interval, Range, Varied

JOURNAL = "study.jsonl"
"""File in a sweep's directory with every change of its study, one per line."""
REPLACES = "replaces"
"""Attribute of a trial: the job that it computes in place of a trial whose run did not end."""
WORKER = "worker"
"""Attribute of a trial: a file that the process computing it holds locked, ``<sweep>/<file>``.

Directories of sweeps that share a study are siblings, also after a move.
"""
SEARCH = "search"
"""Attribute of a study: its varied options and their distributions."""


class SharedStudy:
    """A study in which every job is one trial, or several if its earlier trials were interrupted.

    Args:
        folder: the sweep's own directory.
        storage: a database URL; ``None``: a file in ``folder``.
        name: of the study.
        objectives: metrics with their directions; or a function that returns those of a new study, while an existing
            study keeps its own.
        distributions: of the varied options.
        draw: draws the options of a trial's configuration.

    Raises:
        UserError: the storage cannot be opened, or has a study of that name for another search.
    """

    def __init__(
        self,
        folder: Path,
        *,
        storage: str | None,
        name: str,
        objectives: Mapping[str, str] | Callable[[], Mapping[str, str]],
        distributions: dict[str, BaseDistribution],
        draw: Callable[[optuna.Trial], object],
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
    ) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.distributions, self._draw = distributions, draw
        # Sweeps that share a study in a database have directories in one folder.
        which = hashlib.sha256(f"{storage} {name}".encode()).hexdigest()[:10]
        lock = self.folder / "study.lock" if storage is None else self.folder.parent / f"study-{which}.lock"
        self._alone = FileLock(lock)
        """Excludes other processes of this study while jobs are counted and a trial is begun."""
        with self._alone:
            place = str(self.folder / JOURNAL) if storage is None else f"sweep.storage={storage}"
            with _opening(place):
                opened = optuna.storages.get_storage(_journal(self.folder / JOURNAL) if storage is None else storage)
                recorded = _recorded(opened, name)
            self.objectives = objectives if isinstance(objectives, Mapping) else recorded or objectives()
            with _opening(place):
                self.study = optuna.create_study(
                    storage=opened,
                    study_name=name,
                    directions=[StudyDirection[direction.upper()] for direction in self.objectives.values()],
                    sampler=sampler,
                    pruner=pruner,
                    load_if_exists=True,
                )
            self._check_same(self.objectives)
            for path in self.folder.glob("*.alive"):
                if not _is_held(path):
                    path.unlink(missing_ok=True)
            # Held until this process ends in any way.
            name = f"{os.uname().nodename}-{os.getpid()}-{uuid4().hex[:8]}.alive"
            self._alive = FileLock(self.folder / name, thread_local=False)
            self._alive.acquire()

    def ask(self, jobs: int) -> tuple[int, optuna.Trial] | None:
        """Begin a trial of one of ``jobs`` jobs, interrupted ones first; return ``None`` if none is left.

        Returns:
            The job's number and its trial, with all parameters drawn.
        """
        with self._alone:
            for trial in self._left_behind():
                self.propose_again(trial.number)
            trials = self.study.get_trials(deepcopy=False)
            if not any(trial.state == TrialState.WAITING for trial in trials) and len(self.jobs()) >= jobs:
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # warnings about experimental samplers
                new_trial = self.study.ask()
                self._draw(new_trial)
            new_trial.set_user_attr(WORKER, f"{self.folder.name}/{Path(self._alive.lock_file).name}")
            job = job_of(new_trial, self.study.get_trials(deepcopy=False))
            new_trial.set_user_attr("job", job)
        return job, new_trial

    def propose_again(self, trial_number: int) -> None:
        """Queue the parameters of a trial whose run has not ended as the next trial, and end the trial."""
        trials = self.study.get_trials(deepcopy=False)
        trial = trials[trial_number]
        # In this order, so that the job never looks as if it had ended.
        self.study.enqueue_trial(trial.params, user_attrs={REPLACES: job_of(trial, trials)})
        self.study.tell(trial_number, state=TrialState.FAIL, skip_if_finished=True)

    def jobs(self) -> dict[int, FrozenTrial]:
        """Return the newest trial of every job that was begun, by the job's number."""
        jobs: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            jobs[trial.user_attrs.get(REPLACES, len(jobs))] = trial
        return jobs

    def _left_behind(self) -> list[FrozenTrial]:
        """Return the running trials whose process has ended."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if not _is_alive(trial, self.folder.parent)]

    def _check_same(self, objectives: Mapping[str, str]) -> None:
        search = {
            "varied": {key: distribution_to_json(value) for key, value in sorted(self.distributions.items())},
            "objectives": dict(objectives),
        }
        before: dict[str, Any] = self.study.user_attrs.get(SEARCH, search)
        if before != search:
            raise UserError(
                f"the study '{self.study.study_name}' in {self.folder} is another search: "
                f"{', '.join(before['varied'])} for {', '.join(before['objectives'])}, over other values; "
                "use another sweep.study or another directory"
            )
        if SEARCH not in self.study.user_attrs:
            self.study.set_user_attr(SEARCH, search)


@contextmanager
def _opening(place: str) -> Iterator[None]:
    """Raise ``UserError`` that names ``place`` if a storage cannot be opened."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{place}: cannot be opened ({first_line(error)})") from error


def _recorded(storage: optuna.storages.BaseStorage, name: str) -> Mapping[str, str] | None:
    """Return the objectives of the study of that name; ``None`` if it does not exist."""
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    studies = {study.study_name: study for study in summaries}
    search = studies[name].user_attrs.get(SEARCH) if name in studies else None
    return None if search is None else dict(search["objectives"])


def job_of(trial: FrozenTrial | optuna.Trial, trials: Iterable[FrozenTrial]) -> int:
    """Return the number of the job that a trial computes: that of the trial that it replaces, or else the next one."""
    if REPLACES in trial.user_attrs:
        return int(trial.user_attrs[REPLACES])
    return sum(1 for other in trials if other.number < trial.number and REPLACES not in other.user_attrs)


def _is_alive(trial: FrozenTrial, sweeps: Path) -> bool:
    """Return whether the process of a running trial is alive; ``True`` if that cannot be determined here.

    Args:
        sweeps: the folder of the directories of all sweeps that share the study.
    """
    worker = trial.user_attrs.get(WORKER)
    if worker is None:  # the process may be about to record the file
        return trial.datetime_start is None or datetime.now() - trial.datetime_start < timedelta(minutes=1)
    path = sweeps.joinpath(*Path(worker).parts[-2:])
    return _is_held(path) if path.exists() else not path.parent.exists()


def _is_held(path: Path) -> bool:
    """Return whether any process holds a file locked."""
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _journal(path: Path) -> JournalStorage:
    """Open a journal, and remove an incomplete last line, after which no process could append."""
    lock = JournalFileSymlinkLock(str(path))
    if path.exists():
        lock.acquire()
        try:
            content = path.read_bytes()
            if content and not content.endswith(b"\n"):
                os.truncate(path, content.rfind(b"\n") + 1)
        finally:
            lock.release()
    return JournalStorage(JournalFileBackend(str(path)))


_NEEDS_ANOTHER = (
    "BaseSampler",
    "BaseGASampler",
    "PartialFixedSampler",
    "BasePruner",
    "PatientPruner",
    "WilcoxonPruner",
)
"""Classes that cannot be named: abstract, wrappers of another sampler or pruner, or for repeated measurements."""


def sampler(name: str, options: Mapping[str, Any], space: Space, seed: int) -> optuna.samplers.BaseSampler:
    """Build the sampler that ``sweep.sampler`` names, which is built again for every job. Raises ``UserError``."""
    sampler_class = _named("sampler", optuna.samplers, "Sampler", name)
    if sampler_class is optuna.samplers.CmaEsSampler and find_spec("cmaes") is None:  # Optuna fails only later
        raise UserError(f"sweep.sampler={name}: needs the package cmaes; pip install cmaes")
    parameters = named_parameters(sampler_class)
    supplied: dict[str, Any] = {}
    if "constant_liar" in parameters:  # running trials count as bad, so that processes try different values
        supplied["constant_liar"] = True
    if "search_space" in parameters:
        space.combinations()  # raises for intervals
        supplied["search_space"] = {option.key: _every(option) for option in space.varied}

    def make(job: int) -> optuna.samplers.BaseSampler:
        seeded = {}
        if "seed" in parameters:
            one_plan = sampler_class in (optuna.samplers.GridSampler, optuna.samplers.QMCSampler)  # a common plan
            seeded["seed"] = seed if one_plan else _job_seed(seed, job)
        return _build("sampler", name, sampler_class, seeded | supplied | dict(options))

    make(0)  # raises early for invalid options
    return SeededByJob(make)


def is_exhaustive(sampler_name: str) -> bool:
    """Return whether a sampler tries every combination once, so that there are no more jobs than combinations."""
    sampler_class = _named("sampler", optuna.samplers, "Sampler", sampler_name)
    return sampler_class in (optuna.samplers.GridSampler, optuna.samplers.BruteForceSampler)


def number_of_combinations(sampler_name: str, space: Space) -> int:
    """Return the number of jobs of an exhaustive sampler. Raises ``UserError`` for options that vary in an interval."""
    if _named("sampler", optuna.samplers, "Sampler", sampler_name) is optuna.samplers.BruteForceSampler:
        return sum(1 for _ in space.combinations())
    # Combinations that differ only in options missing from their configuration are one job, but several trials.
    space.combinations()
    return math.prod(len(_every(option)) for option in space.varied)


def pruner(name: str, options: Mapping[str, Any]) -> optuna.pruners.BasePruner:
    """Build the pruner that ``sweep.pruner`` names; ``none`` stops no job. Raises ``UserError``."""
    pruner_class = optuna.pruners.NopPruner if name == "none" else _named("pruner", optuna.pruners, "Pruner", name)
    return _build("pruner", name, pruner_class, options)


def cannot_prune(name: str, options: Mapping[str, Any], trials: int) -> str | None:
    """Return a message if a pruner cannot stop any of so many jobs; ``None`` if it may."""
    if name == "none":
        return None
    pruner_class = _named("pruner", optuna.pruners, "Pruner", name)
    if pruner_class is optuna.pruners.NopPruner:
        return f"sweep.pruner={name}: stops no job"
    if pruner_class is optuna.pruners.ThresholdPruner:  # compares with no other job
        return None
    parameters = named_parameters(pruner_class)
    first = 1
    if "n_startup_trials" in parameters:
        first = max(1, options.get("n_startup_trials", parameters["n_startup_trials"].default))
    if trials > first:
        return None
    jobs = f"any of {trials} jobs" if trials > 1 else "the only job"
    if first == 1:
        return f"sweep.pruner={name}: cannot stop {jobs}, because there is none to compare it with"
    advice = f"give sweep.trials={first + 1} or more"
    if trials > 1:
        advice += f", or 'sweep.pruner_options={{n_startup_trials: {max(1, trials // 3)}}}'"
    return (
        f"sweep.pruner={name}: cannot stop {jobs}, because it first lets {first} finish to compare with "
        f"(n_startup_trials); {advice}"
    )


def _named(option: str, module: Any, ending: str, name: str) -> Callable[..., Any]:
    """Return the class with that name, or a short form of it: ``tpe``, ``TPESampler``, ``cma_es``, ``cmaes``."""
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and key.endswith(ending) and key not in _NEEDS_ANOTHER
    }
    short = {re.sub("(?<=[a-z])(?=[A-Z])", "_", key.removesuffix(ending)).lower(): key for key in classes}
    plain = re.sub(f"{ending}$|_", "", name).lower()
    for key, class_name in short.items():
        if key.replace("_", "") == plain:
            return classes[class_name]
    raise UserError(f"sweep.{option}={name}: Optuna has no such {option}{nearest(name, short)}")


def _build(option: str, name: str, constructor: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    parameters = named_parameters(constructor)
    for key in options:
        if key not in parameters:
            raise UserError(f"sweep.{option}_options.{key}: {name} has no such option{nearest(key, parameters)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return constructor(**options)
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"sweep.{option}={name}: {' '.join(str(error).split())}") from error


def distribution(option: Varied) -> BaseDistribution:
    """Return the Optuna distribution of a varied option; see :func:`value_of`."""
    if isinstance(option, Interval):
        if option.whole:
            return IntDistribution(int(option.low), int(option.high), log=option.log)
        return FloatDistribution(option.low, option.high, log=option.log)
    if not isinstance(option, Range):
        return CategoricalDistribution(option.values)
    first, last = option.numbers[0], option.numbers[-1]
    step = option.numbers[1] - first if len(option.numbers) > 1 else 1
    if isinstance(first, int) and isinstance(step, int):
        return IntDistribution(first, int(last), step=step)
    return FloatDistribution(first, last, step=step)


def suggest(trial: optuna.Trial, option: Varied) -> Any:
    """Return the value of a varied option in a trial, drawing it if necessary."""
    drawn_from = distribution(option)
    if isinstance(drawn_from, CategoricalDistribution):
        return trial.suggest_categorical(option.key, drawn_from.choices)
    if isinstance(drawn_from, IntDistribution):
        return trial.suggest_int(option.key, drawn_from.low, drawn_from.high, step=drawn_from.step, log=drawn_from.log)
    assert isinstance(drawn_from, FloatDistribution)
    return trial.suggest_float(option.key, drawn_from.low, drawn_from.high, step=drawn_from.step, log=drawn_from.log)


def value_of(option: Varied, drawn: Any) -> str:
    """Return a drawn value as written in an override; that of a range is exactly one of its numbers."""
    if isinstance(option, Range):
        return str(min(option.numbers, key=lambda number: abs(number - drawn)))
    return str(drawn)


def _every(option: Varied) -> list[Any]:
    assert not isinstance(option, Interval)
    return list(option.numbers) if isinstance(option, Range) else list(option.values)


def _job_seed(seed: int, job: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed},{job}".encode(), digest_size=4).digest())


class SeededByJob(optuna.samplers.BaseSampler):
    """A sampler that is built again for every job, with a seed of that job.

    Its draws depend only on the job's number and the results so far. A study continued in another process draws what
    it would have drawn in the first, and several processes draw different values.

    Args:
        make: returns the sampler of a job.
    """

    def __init__(self, make: Callable[[int], optuna.samplers.BaseSampler]) -> None:
        self._make = make
        self._present = make(0)

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        self._present = self._make(job_of(trial, study.get_trials(deepcopy=False)))
        self._present.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return self._present.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return self._present.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: Any, param_distribution: Any) -> Any:
        return self._present.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: optuna.trial.FrozenTrial, state: Any, values: Any) -> None:
        if REPLACES in trial.user_attrs:  # the sampler did not draw its values
            return
        # An exhaustive sampler stops Optuna's own loop after the last combination; here it raises, without a loop.
        with suppress(RuntimeError):
            self._present.after_trial(study, trial, state, values)
