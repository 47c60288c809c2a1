"""The declaration of a study: the section ``study`` of an experiment."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.config.check import check_arguments
from lmlab.config.nodes import Config, at, differences, has
from lmlab.config.overrides import option_of, written
from lmlab.errors import UserError, nearest
from lmlab.metrics import TEST, VALIDATION, Better, Measures, check_direction, is_averaged, on_split, split_of
from lmlab.numerals import is_number
from lmlab.sweeps.search.space import Lacking, Space
from lmlab.sweeps.search.varied import Interval

if TYPE_CHECKING:
    from lmlab.sweeps.sweep import Sweep

EQUAL: Mapping[str, Sequence[str]] = {
    "data": ["data"],
    "tokenizer": ["tokenizer"],
    "budget": ["budget"],
    "parameters": ["model.parameters_of"],  # and the number of parameters
    "context": ["batch.context", "batch.carry_state", "batch.documents"],
}
"""Quantities that a study can hold equal, with the sections of a configuration that must then agree in all runs."""

BUDGETS = {"flops": "FLOPs of training", "seconds": "seconds of training"}
"""Units of a run's budget other than tokens."""

SEED_OF_DRAWS = 1


@dataclass(frozen=True)
class Study:
    """Arms, quantities held equal between them, options tuned in each, and the seeds of the final runs.

    Tuning takes the same number of trials, with the same draws, for every arm, all of them with ``tuning_seed``. The
    best of each arm is then computed with every seed of ``seeds``, because the score by which a setting was selected is
    a biased estimate. For the same reason the conclusion is about the test split, if the data have one.

    Attributes:
        arms: overrides of each arm, by its name.
        seeds: of the final runs.
        tune: options with the values to try, in the syntax of the command line (``tag(log, interval(1e-3, 3e-2))``).
        trials: number of random draws for each arm; ``None``: every combination.
        equal: quantities in ``EQUAL`` that no arm and no trial may change.
        metric: metric by which settings are selected: one of the data's validations, ``ema/<score>`` of averaged
            weights, or ``validation/<name>`` of a callback's own; ``None``: the primary metric of the data.
        direction: ``minimize`` or ``maximize``; ``None``: the metric's own, or else ``minimize``.
        budget: ``{"flops": n}`` or ``{"seconds": n}`` of training for every run, converted to tokens for each arm;
            ``None``: ``budget.tokens``, at any cost.
        question: the question that the study answers, in a sentence.
    """

    arms: Mapping[str, Sequence[str]]
    seeds: Sequence[int]
    tune: Mapping[str, str] = field(default_factory=dict)
    trials: int | None = None
    equal: Sequence[str] = tuple(EQUAL)
    metric: str | None = None
    budget: Mapping[str, Any] | None = None
    question: str | None = None
    direction: str | None = None

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> "Study":
        """Read the section ``study`` of a configuration. Raises ``UserError`` for any error in it."""
        options = dict(section)
        if isinstance(options.get("tune"), dict):  # values may stand in a list
            options["tune"] = {
                option: written(values)[1:-1] if isinstance(values, list) else values
                for option, values in options["tune"].items()
            }
        check_arguments(cls, options, "study.", name="a study")
        study = cls(**options)
        study._check()
        return study

    @classmethod
    def of(cls, sweep: "Sweep") -> "Study":
        """Read the study that a sweep's directory belongs to. Raises ``UserError`` if it belongs to none."""
        section = sweep.definition.get("study")
        if section is None:
            raise UserError(f"{sweep.path}: not the sweep of a study (lmlab study makes one)")
        return cls.read(section)

    def _check(self) -> None:
        if len(self.arms) < 2:
            raise UserError(f"study.arms: expected at least 2 to compare, got {len(self.arms)}")
        for arm, words in self.arms.items():
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise UserError(f"study.arms.{arm}={words}: expected a list of overrides, like [model=lstm]")
        if not self.seeds:
            raise UserError("study.seeds=[]: expected at least one")
        for seed in self.seeds:
            if seed < 0:
                raise UserError(f"study.seeds: {seed} is negative")
            if list(self.seeds).count(seed) > 1:
                raise UserError(f"study.seeds: {seed} occurs twice, which would be the same run")
        if self.trials is not None and self.trials < 1:
            raise UserError(f"study.trials={self.trials}: expected at least 1, or null for every combination")
        for option, values in self.tune.items():
            if not isinstance(values, str):
                raise UserError(f"study.tune.{option}={values}: expected values to try, like 1e-3,3e-3")
        for name in self.equal:
            if name not in EQUAL:
                raise UserError(f"study.equal: {name} is unknown{nearest(name, EQUAL)}")
        check_direction(self.direction, "study.direction")
        if self.metric is not None and split_of(self.metric) == TEST:
            raise UserError(
                f"study.metric={self.metric}: settings are selected on the validation split, the conclusion is always "
                f"about the test split (did you mean {on_split(self.metric, VALIDATION)!r}?)"
            )
        if self.budget is not None:
            for kind, amount in self.budget.items():
                if kind not in BUDGETS:
                    hint = " (tokens are given as budget.tokens)" if kind == "tokens" else nearest(kind, BUDGETS)
                    raise UserError(f"study.budget.{kind}: unknown{hint}")
                if not is_number(amount) or not 0 < amount < float("inf"):
                    raise UserError(f"study.budget.{kind}={amount}: expected a number above 0")
            if len(self.budget) != 1:
                raise UserError(f"study.budget: expected one of {', '.join(BUDGETS)}, or null")

    @property
    def section(self) -> dict[str, Any]:
        """The study as plain values that :meth:`read` accepts."""
        section = asdict(self) | {"equal": list(self.equal)}
        if self.direction is None:  # as earlier versions wrote it
            del section["direction"]
        return section

    def selection_metric(self, measures: Measures) -> str:
        """Return the metric by which settings are selected, for runs with the metrics ``measures``."""
        return self.metric or measures.primary

    def better(self, measures: Measures) -> Better:
        """Return the direction in which that metric is better. Raises ``UserError`` if another one is declared."""
        return measures.better(self.selection_metric(measures), self.direction, "study.direction")

    def concludes_by(self, measures: Measures, splits: Iterable[Collection[str]]) -> str:
        """Return the metric of the conclusion: that of the test split, if all data have one.

        Averaged weights are scored on the validation split only.

        Args:
            measures: the metrics of the runs.
            splits: of the data of each run.
        """
        metric, has_test = self.selection_metric(measures), [TEST in own for own in splits]
        of_validation = split_of(metric) == VALIDATION and not is_averaged(metric)
        same = measures.metric(metric) is not None and of_validation
        return on_split(metric, TEST) if same and has_test and all(has_test) else metric

    @property
    def tuning_seed(self) -> int:
        """Seed of all trials: the smallest that no final run has."""
        return next(seed for seed in range(len(self.seeds) + 1) if seed not in self.seeds)

    def own_words(self, words: Sequence[str]) -> list[str]:
        """Return those words of a command line that apply to every run.

        Raises:
            UserError: a word has several values, or sets an option that the study decides.
        """
        for word in words:
            if option_of(word).startswith("study.") and Space([word]).varied:
                key, _, values = word.partition("=")
                raise UserError(f"{word}: one study at a time; a list is written {key}=[{values}]")
        words = [word for word in words if option_of(word) != "study" and not option_of(word).startswith("study.")]
        decided = {option_of(word): f"study.arms.{arm}" for arm, own in self.arms.items() for word in own}
        decided |= dict.fromkeys(self.tune, "study.tune") | {
            "seed": "study.seeds",
            "sweep": "a study is its own search",
            "sweep.zip": "a study is its own search: an arm may set several options (study.arms), values of study.tune "
            "are combined, or drawn (study.trials)",
        }
        if self.budget is not None:
            decided |= {"budget": "study.budget", "budget.tokens": "study.budget"}
        for word in words:
            if (by := decided.get(option_of(word))) is not None:
                raise UserError(f"{word}: decided by {by}" if by.startswith("study.") else f"{word}: {by}")
        space = Space(words)
        for option in space.varied:
            raise UserError(f"{option.key}: several values; a study compares and tunes the values in its section study")
        return space.fixed

    def words_of(self, arm: str, words: Sequence[str], lacking: Lacking) -> list[str]:
        """Return those words for all arms whose options exist in an arm's configuration.

        Args:
            lacking: returns the options that a configuration lacks.
        """
        groups = [word for word in (*words, *self.arms[arm]) if word[0] in "+~" or "." not in option_of(word)]
        missing = lacking(groups, [option_of(word) for word in words if word not in groups])
        return [word for word in words if option_of(word) not in missing]

    def untuned(self, arm: str, words: Sequence[str]) -> list[str]:
        """Return the overrides of an arm before tuning. Raises ``UserError`` for options that an arm may not change."""
        for word in self.arms[arm]:
            if option_of(word) in ("seed", "sweep", "study"):
                raise UserError(f"study.arms.{arm}: {word} cannot be part of an arm")
            if self.budget is not None and option_of(word).split(".")[0] == "budget":
                raise UserError(f"study.arms.{arm}: {word} is decided by study.budget")
        space = Space([*words, *self.arms[arm]])
        for option in space.varied:
            raise UserError(f"study.arms.{arm}: {option.key} has several values; name an arm for each")
        return space.fixed

    def candidates(self, arm: str, words: Sequence[str], config: Config | None = None) -> list[list[str]]:
        """Return the overrides of all candidates of an arm, in order; those of the arm itself if nothing is tuned.

        A draw depends on its number and its option alone, so the same values are tried in every arm. An arm without
        one of the options tries fewer combinations, but has as many draws.

        Args:
            config: the arm's untuned configuration, which determines its options; ``None``: all options.

        Raises:
            UserError: a tuned option is decided elsewhere, or cannot be drawn from.
        """
        own = {option_of(word) for word in self.arms[arm]}
        for option in self.tune:
            if option in own:
                raise UserError(f"study.tune.{option}: decided by study.arms.{arm}")
            if option == "seed" or (self.budget is not None and option.split(".")[0] == "budget"):
                raise UserError(f"study.tune.{option}: decided by study.{'seeds' if option == 'seed' else 'budget'}")
        lacking = None if config is None else lacks(config)
        tuned = [f"{option}={values}" for option, values in self.tune.items()]
        space = Space([*self.untuned(arm, words), *tuned], lacking=lacking)
        varied = {option_of(option.key): option for option in space.varied}
        for option, values in self.tune.items():
            if option not in varied:
                raise UserError(f"study.tune.{option}={values}: expected several values, or an interval")
            if self.trials is None and isinstance(varied[option], Interval):
                raise UserError(f"study.trials: {option} varies in an interval, so give the number of draws")
        if not space.varied:
            return [space.fixed]
        if self.trials is None:
            return list(space.combinations())
        return [space.draw(SEED_OF_DRAWS, number) for number in range(self.trials)]

    def check_equal(self, first: Config, other: Config, where: str, reference: str) -> None:
        """Refuse a configuration that differs from the first in a quantity held equal. Raises ``UserError``.

        Args:
            where: source of the difference, for messages.
            reference: the arm of the first configuration.
        """
        for name in self.equal:
            for key in EQUAL[name]:
                changes = differences({key: at(first, key)}, {key: at(other, key)})
                for option, (before, after) in changes.items():
                    raise UserError(
                        f"{where}: {option}={after}, but {before} in {reference}, and study.equal has {name}"
                    )


def lacks(config: Config) -> Lacking:
    """Return a function that returns the options that ``config`` lacks, as a search space expects."""

    def lacking(groups: Sequence[str], options: Sequence[str]) -> set[str]:
        return {option for option in options if not has(config, option)}

    return lacking


def trials_of_all(folder: Path) -> set[str]:
    """Return the names of the directories of trials that are not final runs, of all studies in a folder of sweeps."""
    from lmlab.sweeps.sweep import all_sweeps

    names: dict[str, set[str]] = {"trial": set(), "final": set()}
    for sweep in all_sweeps(folder):
        for job in sweep.jobs if sweep.definition.get("study") is not None else ():
            if job.phase in names and job.path is not None:
                names[job.phase].add(Path(job.path).name)
    return names["trial"] - names["final"]
