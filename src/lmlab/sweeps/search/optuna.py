"""Search with Optuna: samplers that learn from earlier results, and pruning of jobs with poor results."""

import logging
import math
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Literal

try:
    import optuna
except ImportError as missing:
    raise ImportError("Optuna is not installed: pip install 'lmlab[optuna]'") from missing

from optuna.trial import TrialState

from lmlab.errors import UserError, nearest
from lmlab.metrics import DIRECTIONS, VALIDATION, Measures, split_of
from lmlab.numerals import written
from lmlab.sweeps.search import optuna_study
from lmlab.sweeps.search.optuna_study import SharedStudy, job_of
from lmlab.sweeps.search.search import Outcome, Proposal, Search, check_trials
from lmlab.sweeps.search.space import Space


class Optuna(Search):
    """An Optuna study (Akiba et al. 2019) with complete runs as trials, unless a pruner stops them.

    The study outlives this process: a sweep started again continues with the remaining trials, beginning with those
    that were running when their process died. With a ``storage``, several sweeps may work on it at once if their
    directories are in one folder.

    Args:
        trials: number of jobs, over all processes and attempts; failed and pruned ones count.
        objectives: metrics of a finished run, each with ``minimize`` or ``maximize``; ``None``: the primary metric of
            the runs; an existing study keeps its objectives.
        sampler: the name of any of ``optuna.samplers``: ``tpe``, ``random``, ``cma_es``, ``gp``, ``nsgaii``, ``qmc``...
        sampler_options: options of the sampler.
        seed: of the sampler.
        pruner: ``none``, or the name of any of ``optuna.pruners``: ``median``, ``hyperband``, ``successive_halving``...
        pruner_options: options of the pruner; steps are counted as ``pruning_steps`` says.
        pruning_steps: unit in which jobs are compared before their end: number of validations, or training tokens.
        storage: a database URL; ``None``: a file in the sweep's directory.
        study: the study's name; a database, which may hold several, needs one.
        space: the search space; supplied by the sweep.
        folder: the sweep's own directory; supplied by the sweep.
        measures: returns the metrics of the runs, called for a new study without objectives; supplied by the sweep.

    Raises:
        UserError: an option that Optuna does not have or refuses, or an existing study of another search.
    """

    def __init__(
        self,
        space: Space,
        folder: Path,
        trials: int = 20,
        objectives: dict[str, str] | None = None,
        sampler: str = "tpe",
        sampler_options: dict[str, Any] | None = None,
        seed: int = 1,
        pruner: str = "none",
        pruner_options: dict[str, Any] | None = None,
        pruning_steps: Literal["validations", "tokens"] = "validations",
        storage: str | None = None,
        study: str | None = None,
        *,
        measures: Callable[[], Measures],
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        check_trials(trials, space)
        if not 0 <= seed < 2**32:
            raise UserError(f"sweep.seed={seed}: expected 0 to {2**32 - 1}")
        if storage is not None and study is None:
            raise UserError("sweep.study has no value: a database may hold several studies, so give this one's name")
        if space.zipped:
            raise UserError(
                "sweep.zip: sweep=optuna draws every option separately; sweep=grid, random and halving pair values"
            )
        if objectives:
            _check_objectives(objectives, pruner)
        built_sampler = optuna_study.sampler(sampler, sampler_options or {}, space, seed)
        if optuna_study.is_exhaustive(sampler):
            trials = min(trials, optuna_study.number_of_combinations(sampler, space))
        self.trials, self.space, self.pruner, self.pruning_steps = trials, space, pruner, pruning_steps
        self._distributions = {option.key: optuna_study.distribution(option) for option in space.varied}
        self.shared = SharedStudy(
            folder,
            storage=storage,
            name=study or "sweep",
            objectives=objectives or partial(_primary, measures),
            distributions=self._distributions,
            draw=self._draw,
            sampler=built_sampler,
            pruner=optuna_study.pruner(pruner, pruner_options or {}),
        )
        self.objectives = self.shared.objectives
        self.warning = optuna_study.cannot_prune(pruner, pruner_options or {}, trials)
        self._running: dict[int, optuna.Trial] = {}
        self._validated: dict[int, list[int]] = {}
        """Tokens at every validation of a running job, by its number."""

    def ask(self) -> Proposal | None:
        job = self.shared.ask(self.trials)
        if job is None:
            return None
        number, trial = job
        self._running[number], self._validated[number] = trial, []
        return Proposal(number, self.space.job(self._draw(trial)))

    def _draw(self, trial: optuna.Trial) -> dict[str, str]:
        """Draw the options of a trial's configuration, or read those already drawn; return their values.

        Options of every configuration come first, because group options decide which others exist.
        """
        values: dict[str, str] = {}
        for option in sorted(self.space.varied, key=lambda option: option.key in self.space.conditional):
            if option.key not in self.space.conditional or option.key not in self.space.lacking(values):
                values[option.key] = optuna_study.value_of(option, optuna_study.suggest(trial, option))
        return values

    @property
    def done(self) -> bool:
        """Return whether every trial of the study has ended, in any process."""
        jobs = self.shared.jobs()
        return len(jobs) >= self.trials and all(trial.state.is_finished() for trial in jobs.values())

    @property
    def total(self) -> int:
        return self.trials

    def to_come(self, begun: Collection[int]) -> int:
        """Return the number of trials that no process has begun."""
        return max(0, self.trials - len(self.shared.jobs()))

    def watch(self, proposal: Proposal, rows: list[dict[str, Any]]) -> str | None:
        if self.pruner == "none":
            return None
        trial, validated = self._running[proposal.number], self._validated[proposal.number]
        (objective,) = self.objectives
        for row in rows:
            if objective not in row or row["tokens"] in validated:
                continue
            validated.append(row["tokens"])
            trial.report(row[objective], row["tokens"] if self.pruning_steps == "tokens" else len(validated))
            if trial.should_prune():
                value = written(row[objective], "{:.4f}")
                return f"{objective}={value} after {row['tokens']:,} tokens (sweep.pruner={self.pruner})"
        return None

    def tell(self, proposal: Proposal, outcome: Outcome, metrics: dict[str, float], run: Path | None = None) -> None:
        values = [self._value(name, metrics) for name in self.objectives] if outcome == "finished" else None
        trial = self._running.pop(proposal.number)
        del self._validated[proposal.number]
        if run is not None:
            trial.set_user_attr("run", str(run))
        if outcome == "interrupted":
            self.shared.propose_again(trial.number)
            return
        states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        self.shared.study.tell(trial, values, states[outcome])

    def _value(self, name: str, metrics: dict[str, float]) -> float:
        """Return an objective of a finished run; a diverged run gets an infinite value, so that samplers avoid it."""
        if name not in metrics:
            raise UserError(f"sweep.objectives.{name}: a finished run has no such metric{nearest(name, metrics)}")
        value = float(metrics[name])
        if math.isnan(value):
            return math.inf if self.objectives[name] == "minimize" else -math.inf
        return value

    def best(self) -> list[int]:
        trials = self.shared.study.get_trials(deepcopy=False)
        if not any(trial.state == TrialState.COMPLETE for trial in trials):
            return []
        best = self.shared.study.best_trials if len(self.objectives) > 1 else [self.shared.study.best_trial]
        finite = [trial for trial in best if all(map(math.isfinite, trial.values))]
        return sorted({job_of(trial, trials) for trial in finite})


def _primary(measures: Callable[[], Measures]) -> dict[str, str]:
    """Return the primary metric with its direction, as objectives."""
    primary_of = measures()
    return {primary_of.primary: DIRECTIONS[primary_of.better(primary_of.primary)]}


def _check_objectives(objectives: dict[str, str], pruner: str) -> None:
    for name, direction in objectives.items():
        if direction not in ("minimize", "maximize"):
            raise UserError(f"sweep.objectives.{name}={direction}: expected minimize or maximize")
    if pruner != "none" and len(objectives) > 1:
        raise UserError(f"sweep.pruner={pruner}: only with a single objective, not with {len(objectives)}")
    if pruner != "none" and split_of(next(iter(objectives))) != VALIDATION:
        raise UserError(
            f"sweep.pruner={pruner}: only for an objective that validations measure, not {next(iter(objectives))}"
        )
