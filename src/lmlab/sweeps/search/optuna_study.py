"""An Optuna study that several processes work on at once, and that none of them can leave half done."""

import fcntl
import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lmlab.errors import UserError

JOURNAL = "study.jsonl"
"""In a sweep's directory: every change of its study, one a line."""
REPLACES = "replaces"
"""A trial's attribute: the job that it computes in the place of a trial whose run did not end."""
WORKER = "worker"
"""A trial's attribute: a file that the process which computes it holds locked, ``<sweep>/<file>``.

Directories of sweeps that share a study lie side by side, wherever they may have been moved to.
"""
SEARCH = "search"
"""The study's attribute: the options that it varies, and how."""


class SharedStudy:
    """A study in which every job is one trial, or several of which all but the last were interrupted.

    Args:
        folder: the sweep's own directory.
        storage: a database URL; ``None``: a file in ``folder``.
        name: of the study.
        objectives: metrics with their directions; or a function that returns those of a new study, where one that is
            there keeps its own.
        distributions: of the options that it varies.
        draw: draws a trial's options, of which it may not have all.

    Raises:
        UserError: the storage cannot be opened, or holds a study of that name that searches something else.
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
        # A study in a database is shared by sweeps whose directories lie side by side.
        which = hashlib.sha256(f"{storage} {name}".encode()).hexdigest()[:10]
        self._lock = self.folder / "study.lock" if storage is None else self.folder.parent / f"study-{which}.lock"
        with self._alone():
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
            # Held as long as this process lives, however it ends.
            self._alive = (self.folder / f"{os.uname().nodename}-{os.getpid()}-{uuid4().hex[:8]}.alive").open("w")
            fcntl.flock(self._alive, fcntl.LOCK_EX)

    def ask(self, jobs: int) -> tuple[int, optuna.Trial] | None:
        """Begin a trial of one of ``jobs`` jobs: one that was interrupted, or else a new one; ``None`` if none is left.

        Returns:
            The job's number and its trial, with all parameters drawn.
        """
        with self._alone():
            for trial in self._left_behind():
                self.propose_again(trial.number)
            trials = self.study.get_trials(deepcopy=False)
            if not any(trial.state == TrialState.WAITING for trial in trials) and len(self.jobs()) >= jobs:
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what samplers find experimental
                new_trial = self.study.ask()
                self._draw(new_trial)
            new_trial.set_user_attr(WORKER, f"{self.folder.name}/{Path(self._alive.name).name}")
            job = job_of(new_trial, self.study.get_trials(deepcopy=False))
            new_trial.set_user_attr("job", job)
        return job, new_trial

    def propose_again(self, trial_number: int) -> None:
        """Put the parameters of a trial whose run has not ended first in line, and end the trial."""
        trials = self.study.get_trials(deepcopy=False)
        trial = trials[trial_number]
        # In this order: at no moment does it look as if the job had ended.
        self.study.enqueue_trial(trial.params, user_attrs={REPLACES: job_of(trial, trials)})
        self.study.tell(trial_number, state=TrialState.FAIL, skip_if_finished=True)

    def jobs(self) -> dict[int, FrozenTrial]:
        """The newest trial of every job that was begun, by the job's number."""
        jobs: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            jobs[trial.user_attrs.get(REPLACES, len(jobs))] = trial
        return jobs

    def _left_behind(self) -> list[FrozenTrial]:
        """The running trials whose process is gone."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if not _is_alive(trial, self.folder.parent)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other processes of this study from counting and asking at the same time."""
        with self._lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _check_same(self, objectives: Mapping[str, str]) -> None:
        wanted = {
            "varied": {key: distribution_to_json(value) for key, value in sorted(self.distributions.items())},
            "objectives": dict(objectives),
        }
        before: dict[str, Any] = self.study.user_attrs.get(SEARCH, wanted)
        if before != wanted:
            raise UserError(
                f"the study '{self.study.study_name}' in {self.folder} searches something else: "
                f"{', '.join(before['varied'])} for {', '.join(before['objectives'])}, over the values given then; "
                "give another sweep.study or another directory"
            )
        if SEARCH not in self.study.user_attrs:
            self.study.set_user_attr(SEARCH, wanted)


@contextmanager
def _opening(place: str) -> Iterator[None]:
    """Raise ``UserError`` that names ``place`` if a storage cannot be opened."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{place}: cannot be opened ({str(error).splitlines()[0]})") from error


def _recorded(storage: optuna.storages.BaseStorage, name: str) -> Mapping[str, str] | None:
    """Return the objectives of the study of that name; ``None``: there is none."""
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    studies = {study.study_name: study for study in summaries}
    search = studies[name].user_attrs.get(SEARCH) if name in studies else None
    return None if search is None else dict(search["objectives"])


def job_of(trial: FrozenTrial | optuna.Trial, trials: Iterable[FrozenTrial]) -> int:
    """The number of the job that a trial computes: that of the trial whose place it took, or else the next one."""
    if REPLACES in trial.user_attrs:
        return int(trial.user_attrs[REPLACES])
    return sum(1 for other in trials if other.number < trial.number and REPLACES not in other.user_attrs)


def _is_alive(trial: FrozenTrial, sweeps: Path) -> bool:
    """Return whether the process that began a running trial still lives; where that cannot be seen from here, it does.

    Args:
        sweeps: the folder of the directories of all sweeps that share the study.
    """
    worker = trial.user_attrs.get(WORKER)
    if worker is None:  # it may be about to write down which it is
        return trial.datetime_start is None or datetime.now() - trial.datetime_start < timedelta(minutes=1)
    path = sweeps.joinpath(*Path(worker).parts[-2:])
    return _is_held(path) if path.exists() else not path.parent.exists()


def _is_held(path: Path) -> bool:
    """Whether some process holds a file locked."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _journal(path: Path) -> JournalStorage:
    """Open a journal, without the end of a last line that was cut short: nobody could write behind it."""
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
