"""Errors 6 and 14: one arm tuned more, or over another range; settings chosen on the conclusion's split, or runs."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from lmlab.analysis.commands import report_with, score_with, train_with
from lmlab.analysis.comparison import Arm, Comparison, Setting
from lmlab.analysis.doubts.arms import SIZES, as_list, distinct, short, subject, text, tried, value_of_arm, varied
from lmlab.analysis.doubts.doubt import Finding
from lmlab.analysis.options import has
from lmlab.analysis.records import Record
from lmlab.analysis.statistics.tuning import beyond
from lmlab.config import nodes
from lmlab.config.overrides import option_of_run, written
from lmlab.metrics import TEST, is_averaged, on_split, split_of
from lmlab.numerals import is_number
from lmlab.sweeps.search.space import Space
from lmlab.sweeps.search.varied import Interval

LEARNING_RATE = "optimizer.lr"
"""The option whose best value depends most on the architecture."""

MANY = 5
"""Settings from which on a choice among them by the runs of the conclusion counts as an error.

Of 2, 3, 5 and 8 settings that are equal in truth, the interval of the one that was best on the validation split covers
the truth on the test split with 95, 93, 91 and 87 % instead of 95 % (20,000 draws; five seeds, whose scores on the two
splits have a correlation of 0.91, as measured).
"""

CHOSEN = "chosen"
"""The tag of the runs that a remedy trains with new seeds."""

OVERLAP = 0.5
"""Ranges of drawn values count as different if they share less than this part of their union."""


def unequal_tuning(comparison: Comparison) -> Iterator[Finding]:
    """Find unequal numbers of trials or values tried, best values at an edge, and better settings passed over."""
    options = {arm.name: _tuned(comparison, arm) for arm in comparison.arms}
    yield from _trials(comparison)
    if not any(LEARNING_RATE in of_arm for of_arm in options.values()):
        rates = {arm.name: value_of_arm(arm, LEARNING_RATE) for arm in comparison.arms}
        if any(rate is not None for rate in rates.values()):
            yield Finding(
                "doubt",
                f"No arm's learning rate was tuned ({LEARNING_RATE}: {text(rates)}), and one that suits one "
                "architecture may not suit another. Train every arm with several.",
                comparison.runs,
                _tune(comparison, comparison.runs, LEARNING_RATE, _around(rates)),
            )
    yield from _values(comparison, options)
    for arm in comparison.arms:
        for option, values in options[arm.name].items():
            yield from _edge(comparison, arm, option, values)
        yield from _passed_over(comparison, arm)


def _tuned(comparison: Comparison, arm: Arm) -> dict[str, list[Any]]:
    """Return the options varied in an arm, except those that only make it larger or longer."""
    return {option: values for option, values in varied(comparison, arm).items() if not option.startswith(SIZES)}


def _trials(comparison: Comparison) -> Iterator[Finding]:
    trials = {arm.name: len(tried(comparison, arm)) for arm in comparison.arms}
    if len(set(trials.values())) > 1:
        most = max(trials.values())
        fewer = [arm for arm in comparison.arms if trials[arm.name] < most]
        yield Finding(
            "doubt",
            f"The arms were tuned with different numbers of settings ({text(trials)}), and the best of more is better "
            f"by luck alone. Try {most} settings of {' and '.join(arm.name for arm in fewer)} too.",
            [run for arm in fewer for run in arm.runs],
        )


def _values(comparison: Comparison, options: dict[str, dict[str, list[Any]]]) -> Iterator[Finding]:
    """Find options tuned in only some of the arms that have them, and options tuned over different values."""
    own = tuple(f"{section}." for section in subject(comparison))
    for option in sorted({option for of_arm in options.values() for option in of_arm}):
        values = {arm: of_arm[option] for arm, of_arm in options.items() if option in of_arm}
        if len(values) < len(options):
            without = [arm for arm in comparison.arms if arm.name not in values and has(arm.runs[0], option)]
            if without and not option.startswith(own):
                fixed = {arm.name: value_of_arm(arm, option) for arm in without}
                yield Finding(
                    "doubt",
                    f"{option} was tuned for {' and '.join(values)} ({text(values)}) but not for others "
                    f"({text(fixed)}). Try the same values for every arm.",
                    (runs := [run for arm in without for run in arm.runs]),
                    _tune(comparison, runs, option, _listed([one for some in values.values() for one in some])),
                )
        if len(values) > 1 and not _same_values(list(values.values())):
            ordered = {arm: _ordered(of_arm) for arm, of_arm in values.items()}
            yield Finding(
                "doubt",
                f"{option} was tuned over different values ({text(ordered)}). Try the same values for every arm.",
                comparison.runs,
                _tune(comparison, comparison.runs, option, _listed([one for some in values.values() for one in some])),
            )


def _tune(comparison: Comparison, runs: Sequence[Record], option: str, values: str) -> list[str]:
    """Return commands that try values of an option, separated by commas, in the configurations of ``runs``."""
    if comparison.study is None:
        return train_with(comparison, runs, f"{option}={values}")
    return train_with(comparison, runs, f"study.tune.{_tuned_as(comparison, option)}={values}")


def _tuned_as(comparison: Comparison, option: str) -> str:
    """Return the name of an option in a study's section ``tune``, which may be that of a stage."""
    tuned = getattr(comparison.study, "tune", None) or {}
    return next((own for own in tuned if option_of_run(own) == option), option)


def _listed(values: Sequence[Any]) -> str:
    return ",".join(written(value) for value in _ordered(distinct(values)))


def _same_values(grids: Sequence[list[Any]]) -> bool:
    """Return whether the values tried in all arms are the same grid, or drawn from about the same range."""
    first = grids[0]
    for other in grids[1:]:
        same = all(value in first for value in other) and all(value in other for value in first)
        drawn = all(map(is_number, [*first, *other])) and not any(value in first for value in other)
        if not same and not (drawn and min(len(first), len(other)) > 2 and _overlap(first, other) >= OVERLAP):
            return False
    return True


def _overlap(first: list[float], other: list[float]) -> float:
    """Return the overlap of two ranges as a share of their union, on a logarithmic axis if all are positive."""
    place = math.log if min(*first, *other) > 0 else float
    (low, high), (below, above) = ((place(min(values)), place(max(values))) for values in (first, other))
    return max(0.0, min(high, above) - max(low, below)) / (max(high, above) - min(low, below))


def _edge(comparison: Comparison, arm: Arm, option: str, values: list[Any]) -> Iterator[Finding]:
    """Find a chosen value that is the least or greatest tried; zero does not count, as nothing lies below it."""
    best, values = value_of_arm(arm, option), [value for value in values if value is not None]
    if not all(map(is_number, values)) or best not in (min(values), max(values)) or best == 0:
        return
    further, side = beyond(values, best, drawn_from(comparison, option)), "least" if best == min(values) else "greatest"
    advice = "" if further is None else f", so a better one may lie beyond. Try {option}={written(further)} as well"
    study_draws = drawn_from(comparison, option) is not None
    yield Finding(
        "doubt",
        f"The best {option} of {arm.name}, {short(best)}, is the {side} of the {len(values)} that were tried{advice}.",
        arm.runs,
        []
        if further is None or study_draws
        else _tune(
            comparison,
            arm.runs,
            option,
            written(further) if comparison.study is None else _listed([*values, further]),
        ),
    )


def drawn_from(comparison: Comparison, option: str) -> Interval | None:
    """Return the interval that a study draws an option from; ``None``: it lists its values, or there is no study."""
    values = (getattr(comparison.study, "tune", None) or {}).get(_tuned_as(comparison, option))
    if values is None:
        return None
    return next((one for one in Space([f"{option}={values}"]).varied if isinstance(one, Interval)), None)


def _passed_over(comparison: Comparison, arm: Arm) -> Iterator[Finding]:
    """Find a setting that is better than the chosen one on the seeds that both have, but has fewer seeds."""
    sign = 1 if comparison.minimizes else -1
    own = arm.scores(comparison.selection_metric)

    def lead(setting: Setting) -> float:
        """Return by how much the chosen setting is worse on common seeds; minus infinity if there are none."""
        scores = setting.scores(comparison.selection_metric)
        common = [seed for seed in own if seed in scores]
        return sum(sign * (own[seed] - scores[seed]) for seed in common) / len(common) if common else -math.inf

    better = max((setting for setting in arm.settings if setting is not arm.representative), key=lead, default=None)
    if better is None or lead(better) <= 0:
        return
    seeds = ",".join(str(seed) for seed in own if seed not in better.scores(comparison.selection_metric))
    changed = {
        option: better_value
        for option in varied(comparison, arm)
        if has(better.runs[0], option) and (better_value := _of(better, arm, option)) != value_of_arm(arm, option)
    }
    words = " ".join(f"{option}={short(value)}" for option, value in changed.items())
    yield Finding(
        "doubt",
        f"{arm.name} is not represented by its best setting: {words} is better by {lead(better):.3g} on the seeds that "
        f"both have. Train it with the other seeds as well (seed={seeds}).",
        [*arm.runs, *better.runs],
        train_with(comparison, better.runs[:1], f"seed={seeds}") if comparison.study is None else [],
    )


def _of(setting: Setting, arm: Arm, option: str) -> Any:
    return value_of_arm(Arm(arm.name, arm.settings, setting), option)


def _ordered(values: list[Any]) -> list[Any]:
    return sorted(values) if all(map(is_number, values)) else values


def _around(values: dict[str, Any]) -> str:
    """Return a third, the whole and three times the value that was used, as an example."""
    numbers = [value for value in as_list(list(values.values())) if is_number(value)]
    return ",".join(f"{numbers[0] * factor:.2g}" for factor in (1 / 3, 1, 3)) if numbers else "1e-3,3e-3,1e-2"


def tuned_on_the_same_split(comparison: Comparison) -> Iterator[Finding]:
    """Find arms whose settings were chosen by their scores on the split on which the arms are compared.

    The best of several settings is in part the luckiest on that split. Arms of one setting, or of settings that differ
    in size and budget only, have nothing to choose.
    """
    split = split_of(comparison.metric)
    tuned = [arm for arm in comparison.arms if any(not option.startswith(SIZES) for option in varied(comparison, arm))]
    counts = {arm.name: len(tried(comparison, arm)) for arm in tuned}
    if split_of(comparison.selection_metric) != split:
        many = [arm for arm in tuned if counts[arm.name] >= MANY and _chose(arm)]
        yield from _chosen_by_the_same_runs(comparison, many, counts)
        return
    if not tuned:
        return
    remedy, commands = _remedy(comparison)
    yield Finding(
        "doubt",
        f"The settings were chosen on the {split} split (settings tried: {text(counts)}), and the conclusion is about "
        f"the same split, on which the best of several settings is in part the luckiest. {remedy}",
        [run for arm in tuned for run in arm.runs],
        commands,
    )


def _chosen_by_the_same_runs(comparison: Comparison, arms: Sequence[Arm], counts: dict[str, int]) -> Iterator[Finding]:
    """Find arms whose settings were chosen, among :data:`MANY`, by the runs of the conclusion on another split.

    A run that is lucky in training is lucky on every split: scores of seeds on validation and test text correlate. So
    the best of several equal settings has too good a mean on the test split as well.
    """
    if not arms:
        return
    runs = [run for arm in arms for run in arm.runs]
    first = 1 + max(run.seed for run in comparison.all_runs)
    seeds = ",".join(str(first + number) for number in range(max(len(arm.runs) for arm in comparison.arms)))
    commands = train_with(comparison, comparison.runs, f"seed={seeds}", f"tags=[{CHOSEN}]")
    yield Finding(
        "doubt",
        f"The settings were chosen by the same runs that the conclusion is about (settings tried: {text(counts)}), and "
        "a run with luck in training has it on every split. Train the chosen settings with new seeds and compare these "
        "runs alone, as lmlab study does.",
        runs,
        [*commands, report_with(comparison, f"tag={CHOSEN}", without=["runs"])] if commands else [],
    )


def _chose(arm: Arm) -> bool:
    """Return whether all runs of an arm, several, took part in the choice of its setting."""
    own = {run.seed for run in arm.runs}
    others = [setting for setting in arm.settings if setting is not arm.representative]
    return len(own) > 1 and any(own <= {run.seed for run in setting.runs} for setting in others)


def _remedy(comparison: Comparison) -> tuple[str, list[str]]:
    """Return advice on how to conclude on another split, and the commands that do so."""
    metric, runs = comparison.metric, comparison.runs
    if is_averaged(metric):
        return "Averaged weights are scored on this split only.", []
    if comparison.measures.metric(metric) is None:
        metric = comparison.measures.primary  # a callback's own metric exists on the validation split only
    for split in (TEST, "longer"):
        if split != split_of(metric) and all(split in run.splits for run in runs):
            other = on_split(metric, split)
            missing = [run for run in runs if run.metric(other) is None]
            score = [score_with(comparison, missing, split)] if missing else []
            return f"{'Score the runs, then conclude' if missing else 'Conclude'} on the {split} split.", [
                *score,
                report_with(comparison, f"metric={other}"),
            ]
    if all(nodes.has(run.config, "data.test") for run in runs):
        words = "Train with a test split (data.test=0.05), and conclude on it."
        return words, train_with(comparison, runs, "data.test=0.05")
    return "These data have no test split; to conclude on, they need one.", []
