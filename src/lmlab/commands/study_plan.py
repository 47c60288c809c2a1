"""What a study will compute, worked out and checked before any of it starts."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from lmlab.commands.hints import hint_among
from lmlab.config import Config, build, has, identity
from lmlab.data.tasks import Task
from lmlab.errors import UserError, nearest, within
from lmlab.metrics import VALIDATION, Measures, split_of
from lmlab.models.parameters import parameter_counts, tolerance
from lmlab.models.sizes import flops_per_token
from lmlab.models.without_memory import without_memory
from lmlab.overrides import option_of
from lmlab.runs.average import check_averaged
from lmlab.runs.run import training_flops
from lmlab.sweeps.search.space import Lacking
from lmlab.sweeps.search.study import Pilot
from lmlab.sweeps.study import Study
from lmlab.targets import targets
from lmlab.training.preflight import check
from lmlab.training.settings import Settings
from lmlab.training.sizing import SizeMissed, SizeRequest, check_sizes, solve_width

Compose = Callable[[Sequence[str], str], Config]
"""Composes overrides; its second argument is what messages call the place that they come from."""


@dataclass(frozen=True)
class Candidate:
    """One of the things that are tried in an arm.

    Attributes:
        words: its overrides, without the seed.
        config: what they compose to.
        model: the network, without memory.
    """

    words: list[str]
    config: Config
    model: Any

    @classmethod
    def of(cls, words: list[str], config: Config, vocabulary: int) -> "Candidate":
        """Build the network for so many types. Raises ``UserError`` where none has the size that is asked for."""
        return cls(words, config, _network(json.dumps(config["model"]), vocabulary, config["batch"]["context"]))

    @property
    def parameters(self) -> int:
        """How many parameters the model has, of the kind that ``model.parameters_of`` says."""
        return parameter_counts(self.model)[self.config["model"]["parameters_of"]]

    @property
    def tokens_per_step(self) -> int:
        return Settings.of(self.config).tokens_per_step

    def tokens_for(self, flops: float, where: str) -> int:
        """How many tokens a number of operations trains on, in whole optimizer steps, rounded down.

        Raises:
            UserError: not one step.
        """
        step = training_flops(flops_per_token(self.model, self.config["batch"]["context"]), self.tokens_per_step)
        if flops < step:
            raise UserError(f"study.budget.flops={flops:g}: a single optimizer step of {where} takes {step:.3g}")
        return int(flops // step) * self.tokens_per_step


@dataclass(frozen=True)
class Plan:
    """A study that can be computed.

    Attributes:
        study: what it declares.
        words: overrides that all runs have.
        candidates: the overrides of what is tried, without the seed, by arm.
        pilots: where its budget is in seconds.
        digest: follows from all that can change a result.
        measures: the metrics of its runs.
        splits: of the data of each arm.
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
        """The metric that settings are chosen by."""
        return self.study.chosen_by(self.measures)

    @property
    def metric(self) -> str:
        """The metric that the conclusion is about."""
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

        The data of every arm are found and tokenised (once: they are cached), networks are built without memory.

        Args:
            words: the command line's overrides.
            here: it is this machine that trains.
            lacking: says which options the configuration of an arm lacks; words about them are not for that arm.

        Raises:
            UserError: a word that is for no arm, an arm or a trial that cannot be trained or breaks what is held
                equal, a metric that the data do not have, a budget that is too small.
        """
        words = study.own_words(words)
        words_of = {arm: study.words_of(arm, words, lacking) for arm in study.arms}
        try:
            return cls._of(study, words, words_of, compose, here)
        except SizeMissed:  # said for all arms at once
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
            if study.metric is None:  # as if the study said so
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
        made = {arm: [_words(one, flops, arm) for one in candidates] for arm, candidates in tried.items()}
        timed = "seconds" in (study.budget or {})
        pilots = {arm: Pilot(one.words, one.tokens_per_step) for arm, one in arms.items()} if timed else {}
        ids = {arm: [identity(one.config) for one in candidates] for arm, candidates in tried.items()}
        asked = json.dumps([ids, {**study.section, "question": None}], sort_keys=True)
        digest = hashlib.sha256(asked.encode()).hexdigest()[:8]
        return cls(study, words, made, pilots, digest, Measures.together(several), splits)


def check_had(words: Sequence[str], study: Study, configs: Mapping[str, Config]) -> None:
    """Refuse words that are for no arm, and to tune what no arm has. Raises ``UserError``."""
    options = {option_of(word): option_of(word) for word in words}
    for option in study.tune:
        of_stage = option.startswith("stages.")  # which says itself what it lacks
        if option[0] != "+" and not of_stage and not any(has(config, option) for config in configs.values()):
            options[option] = f"study.tune.{option}"
    keys = [key for config in configs.values() for key in options_of(config)]
    for option, where in options.items():
        raise UserError(f"{where}: no arm has such an option{hint_among(option, keys)}")


def options_of(config: Config, prefix: str = "") -> Iterator[str]:
    """Yield the dotted options of a configuration, with the sections that they are in."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from options_of(value, f"{prefix}{key}.")


def check_metric(study: Study, task: Task, config: Config, where: str) -> None:
    """Refuse a metric that runs of this configuration do not have, and a direction that is not that of the metric.

    Whether callbacks of the user's own log it turns out with the first run.

    Raises:
        UserError: it names the nearest metric.
    """
    measures, callbacks = task.measures(), config["callbacks"]
    metric, _ = study.chosen_by(measures), study.better(measures)
    option, split = f"study.metric={metric}", split_of(metric)
    check_averaged(option, metric, callbacks)
    names = [name for split in task.scored_splits for name in measures.names(split)]
    if measures.metric(metric) is not None:
        if split not in task.scored_splits:
            raise UserError(f"{option}: {where} has no split {split}{nearest(metric, names)}")
        return
    logs = metric.startswith(f"{VALIDATION}/") and metric != f"{VALIDATION}/"
    if not logs or all(target.startswith("lmlab.") for target, _, _ in targets(callbacks)):
        raise UserError(f"{option}: {where} has no such metric{nearest(metric, names) or f' (it has {names[0]})'}")


def check_alike(study: Study, arms: Mapping[str, Candidate], other: Candidate, where: str) -> None:
    """Refuse what differs from the first arm in what is held equal. Raises ``UserError``."""
    reference, first = next(iter(arms.items()))
    study.check_equal(first.config, other.config, where, reference)
    if "parameters" in study.equal and other.config["model"] != first.config["model"]:
        expected, found = first.parameters, other.parameters
        within = max(tolerance(one.config["model"].get("parameters_within")) for one in (first, other))
        if abs(found - expected) > 2 * within * expected:  # a size that is asked for is met within that share
            raise UserError(
                f"{where}: {found:,} parameters ({first.config['model']['parameters_of']}), but {expected:,} in "
                f"{reference}, and study.equal has parameters (model.parameters= sets one size for all)"
            )


def check_distinct(arms: Mapping[str, Candidate]) -> None:
    """Refuse two arms that are the same. Raises ``UserError``."""
    known: dict[str, str] = {}
    for arm, candidate in arms.items():
        before = known.setdefault(identity(candidate.config), arm)
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
    """Say in errors where the options come from."""
    try:
        yield
    except SizeMissed:
        raise
    except UserError as error:
        raise UserError(within(where, error)) from error


def _size_requests(
    study: Study, words_of: Mapping[str, list[str]], compose: Compose, here: bool
) -> Iterator[SizeRequest]:
    """The models of all arms, untuned and with everything that is tried."""
    for arm, words in words_of.items():
        config = compose(study.untuned(arm, words), f"study.arms.{arm}")
        vocabulary = check(config, here).tokenizer.size
        yield SizeRequest(arm, config["model"], vocabulary, config["batch"]["context"])
        for own in study.candidates(arm, words, config):
            tuned = compose(own, "study.tune")
            name = " ".join([arm, *(word for word in own if option_of(word) in study.tune)])
            yield SizeRequest(name, tuned["model"], vocabulary, tuned["batch"]["context"])


def _words(candidate: Candidate, flops: float | None, arm: str) -> list[str]:
    """A candidate's overrides with its budget, where that is given in operations."""
    tokens = [] if flops is None else [f"budget.tokens={candidate.tokens_for(flops, arm)}"]
    return [*candidate.words, *tokens]
