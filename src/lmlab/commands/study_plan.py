"""Plan of a study, composed and checked before any of its runs starts."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from lmlab.commands.hints import hint_among
from lmlab.config.build import build
from lmlab.config.experiment import Experiment
from lmlab.config.identity import identity
from lmlab.config.nodes import Config, has, keys
from lmlab.config.overrides import option_of
from lmlab.config.targets import targets
from lmlab.data.tasks import Task
from lmlab.errors import UserError, nearest, within
from lmlab.metrics import VALIDATION, Measures, split_of
from lmlab.models.parameters import parameter_counts, tolerance
from lmlab.models.sizes import flops_per_token, without_memory
from lmlab.runs.run import training_flops
from lmlab.sweeps.search.space import Lacking
from lmlab.sweeps.search.study import Pilot
from lmlab.sweeps.study import Study
from lmlab.training.preflight import check
from lmlab.training.sizing import SizeMissed, SizeRequest, check_sizes, solve_width

Compose = Callable[[Sequence[str], str], Config]
"""Function that composes overrides; its second argument is their origin, for messages."""


@dataclass(frozen=True)
class Candidate:
    """Candidate settings of an arm.

    Attributes:
        words: the overrides, without the seed.
        experiment: the composed configuration.
        model: the network, without memory.
    """

    words: list[str]
    experiment: Experiment
    model: Any

    @classmethod
    def of(cls, words: list[str], config: Config, vocabulary: int) -> "Candidate":
        """Build the network for a vocabulary of this size. Raises ``UserError`` if none has the requested size."""
        experiment = Experiment.of(config)
        network = _network(json.dumps(experiment.model), vocabulary, experiment.batch.context)
        return cls(words, experiment, network)

    @property
    def parameters(self) -> int:
        """Number of parameters of the kind in ``model.parameters_of``."""
        return parameter_counts(self.model)[self.experiment.model["parameters_of"]]

    @property
    def tokens_per_step(self) -> int:
        return self.experiment.batch.tokens

    def tokens_for(self, flops: float, where: str) -> int:
        """Return the number of training tokens for a number of operations, rounded down to whole optimizer steps.

        Raises:
            UserError: the operations do not suffice for one step.
        """
        step = training_flops(flops_per_token(self.model, self.experiment.batch.context), self.tokens_per_step)
        if flops < step:
            raise UserError(f"study.budget.flops={flops:g}: a single optimizer step of {where} takes {step:.3g}")
        return int(flops // step) * self.tokens_per_step


@dataclass(frozen=True)
class Plan:
    """Plan of a study that can be computed.

    Attributes:
        study: the declaration.
        words: overrides that all runs have.
        candidates: the overrides of the candidates, without the seed, by arm.
        pilots: pilot runs by arm, if the budget is in seconds.
        digest: a hash of everything that can change a result.
        measures: the metrics of its runs.
        splits: the splits of the data of each arm.
    """

    study: Study
    words: list[str]
    candidates: Mapping[str, list[list[str]]]
    pilots: Mapping[str, Pilot]
    digest: str
    measures: Measures
    splits: list[list[str]]

    @property
    def choice(self) -> str:
        """The metric for choosing settings."""
        return self.study.selection_metric(self.measures)

    @property
    def metric(self) -> str:
        """The metric of the conclusion."""
        return self.study.concludes_by(self.measures, self.splits)

    @classmethod
    def of(
        cls,
        study: Study,
        words: Sequence[str],
        compose: Compose,
        here: bool = True,
        lacking: Lacking = lambda groups, options: frozenset(),
    ) -> "Plan":
        """Compose and check everything that the study would compute.

        The data of every arm are opened and tokenised; networks are built without memory.

        Args:
            words: the overrides of the command line.
            here: the runs are trained on this machine.
            lacking: returns the options that the configuration of an arm lacks; words with them do not apply to it.

        Raises:
            UserError: a word applies to no arm, an arm or a trial cannot be trained or violates ``study.equal``, the
                data lack a metric, or a budget is too small.
        """
        words = study.own_words(words)
        words_of = {arm: study.words_of(arm, words, lacking) for arm in study.arms}
        try:
            return cls._of(study, words, words_of, compose, here)
        except SizeMissed:  # report the sizes of all arms in one message
            check_sizes(list(_size_requests(study, words_of, compose, here)))
            raise

    @classmethod
    def _of(
        cls, study: Study, words: list[str], words_of: Mapping[str, list[str]], compose: Compose, here: bool
    ) -> "Plan":
        configs = {arm: compose(study.untuned(arm, own), f"study.arms.{arm}") for arm, own in words_of.items()}
        check_had([word for word in words if not any(word in own for own in words_of.values())], study, configs)
        arms: dict[str, Candidate] = {}
        tried: dict[str, list[Candidate]] = {}
        splits: list[list[str]] = []
        several: list[Measures] = []
        for arm, config in configs.items():
            where, untuned = f"study.arms.{arm}", study.untuned(arm, words_of[arm])
            with _named(where):
                task = check(config, here)
                arms[arm] = Candidate.of(untuned, config, task.tokenizer.size)
            if study.metric is None:  # default to the primary metric of the first arm
                study = replace(study, metric=task.measures().primary)
            check_metric(study, task, config, where)
            several.append(task.measures())
            splits.append([*task.describe()["splits"]])
            check_alike(study, arms, arms[arm], where)
            tried[arm] = []
            for own in study.candidates(arm, words_of[arm], config):
                candidate = compose(own, "study.tune")
                with _named("study.tune"):
                    tried[arm].append(Candidate.of(own, candidate, task.tokenizer.size))
                check_alike(study, arms, tried[arm][-1], "study.tune")
        check_distinct({arm: candidates[0] for arm, candidates in tried.items()})
        flops = (study.budget or {}).get("flops")
        words_by_arm = {arm: [_words(one, flops, arm) for one in candidates] for arm, candidates in tried.items()}
        timed = "seconds" in (study.budget or {})
        pilots = {arm: Pilot(one.words, one.tokens_per_step) for arm, one in arms.items()} if timed else {}
        ids = {arm: [identity(one.experiment.config) for one in candidates] for arm, candidates in tried.items()}
        declaration = json.dumps([ids, {**study.section, "question": None}], sort_keys=True)
        digest = hashlib.sha256(declaration.encode()).hexdigest()[:8]
        return cls(study, words, words_by_arm, pilots, digest, Measures.together(several), splits)


def check_had(words: Sequence[str], study: Study, configs: Mapping[str, Config]) -> None:
    """Refuse words and tuned options that no arm has. Raises ``UserError``."""
    options = {option_of(word): option_of(word) for word in words}
    for option in study.tune:
        of_stage = option.startswith("stages.")  # composing the stage reports missing options
        if option[0] != "+" and not of_stage and not any(has(config, option) for config in configs.values()):
            options[option] = f"study.tune.{option}"
    names = [key for config in configs.values() for key in keys(config)]
    for option, where in options.items():
        raise UserError(f"{where}: no arm has such an option{hint_among(option, names)}")


def check_metric(study: Study, task: Task, config: Config, where: str) -> None:
    """Refuse a metric that runs of this configuration do not have, and a direction that contradicts the metric.

    Metrics that a user's callbacks log cannot be checked before the first run.

    Raises:
        UserError: the message names the nearest metric.
    """
    measures, experiment = task.measures(), Experiment.of(config)
    metric, _ = study.selection_metric(measures), study.better(measures)
    option, split = f"study.metric={metric}", split_of(metric)
    experiment.check_averaged(option, metric)
    names = [name for split in task.scored_splits for name in measures.names(split)]
    if measures.metric(metric) is not None:
        if split not in task.scored_splits:
            raise UserError(f"{option}: {where} has no split {split}{nearest(metric, names)}")
        return
    logs = metric.startswith(f"{VALIDATION}/") and metric != f"{VALIDATION}/"
    if not logs or all(target.startswith("lmlab.") for target, _, _ in targets(experiment.callbacks)):
        raise UserError(f"{option}: {where} has no such metric{nearest(metric, names) or f' (it has {names[0]})'}")


def check_alike(study: Study, arms: Mapping[str, Candidate], other: Candidate, where: str) -> None:
    """Refuse a candidate that differs from the first arm in an option of ``study.equal``. Raises ``UserError``."""
    reference, first = next(iter(arms.items()))
    study.check_equal(first.experiment.config, other.experiment.config, where, reference)
    if "parameters" in study.equal and other.experiment.model != first.experiment.model:
        expected, actual = first.parameters, other.parameters
        within = max(tolerance(one.experiment.model.get("parameters_within")) for one in (first, other))
        if abs(actual - expected) > 2 * within * expected:  # each model may miss the requested size by this share
            raise UserError(
                f"{where}: {actual:,} parameters ({first.experiment.model['parameters_of']}), but {expected:,} in "
                f"{reference}, and study.equal has parameters (model.parameters= sets one size for all)"
            )


def check_distinct(arms: Mapping[str, Candidate]) -> None:
    """Refuse two arms that are the same. Raises ``UserError``."""
    arm_of: dict[str, str] = {}
    for arm, candidate in arms.items():
        before = arm_of.setdefault(identity(candidate.experiment.config), arm)
        if before != arm:
            raise UserError(f"study.arms.{arm}: is the same as {before}")


@cache
def _network(section: str, vocabulary: int, context: int) -> Any:
    """Build the network of a section ``model``, as JSON, without memory. Raises ``UserError``."""
    node = solve_width(json.loads(section), vocabulary, context)
    with without_memory():
        return build(node, vocabulary=vocabulary, context=context)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Add the origin of the options to errors."""
    try:
        yield
    except SizeMissed:
        raise
    except UserError as error:
        raise UserError(within(where, error)) from error


def _size_requests(
    study: Study, words_of: Mapping[str, list[str]], compose: Compose, here: bool
) -> Iterator[SizeRequest]:
    """Yield the models of all arms, untuned and with all candidate settings."""
    for arm, words in words_of.items():
        config = compose(study.untuned(arm, words), f"study.arms.{arm}")
        vocabulary = check(config, here).tokenizer.size
        yield SizeRequest.of(arm, Experiment.of(config), vocabulary)
        for own in study.candidates(arm, words, config):
            tuned = Experiment.of(compose(own, "study.tune"))
            name = " ".join([arm, *(word for word in own if option_of(word) in study.tune)])
            yield SizeRequest.of(name, tuned, vocabulary)


def _words(candidate: Candidate, flops: float | None, arm: str) -> list[str]:
    """Return a candidate's overrides, with its budget in tokens if the study's is in operations."""
    tokens = [] if flops is None else [f"budget.tokens={candidate.tokens_for(flops, arm)}"]
    return [*candidate.words, *tokens]
