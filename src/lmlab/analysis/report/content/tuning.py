"""Results against tuned options, and the result to expect of a smaller budget of trials."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lmlab.analysis.comparison import Arm, Comparison, Setting
from lmlab.analysis.doubts.tuning import drawn_from
from lmlab.analysis.options import ABSENT, has, value_of, varied
from lmlab.analysis.report.content.captions import caption, data_of, listed, of_those_shown, short, shown
from lmlab.analysis.report.document import Axis, Chart, Column, Part, Section, Series, Table, Text
from lmlab.analysis.statistics.tuning import best_value, beyond, expected_best
from lmlab.config.overrides import written
from lmlab.numerals import is_number

TRIALS = 3
"""Least number of an arm's settings for a curve of expected best scores."""

POINTS = 100
"""Points of that curve, denser where it falls."""


def tuning(comparison: Comparison) -> Section | None:
    """Plot the metric against every option that was varied within an arm, and the number of settings tried."""
    tried = {arm.name: varied([one.runs[0] for one in trials(comparison, arm)]) for arm in comparison.arms}
    options = sorted({option for of_arm in tried.values() for option in of_arm})
    if not options:
        return None
    rows: list[Sequence[str | float | None]] = []
    charts: list[Part] = []
    edges = []
    for option in options:
        arms = [arm for arm in comparison.arms if option in tried[arm.name]]
        series = []
        for arm in arms:
            best = profile(comparison, arm, option)
            values = [value for value, _ in best]
            scores = [setting.mean(comparison.selection_metric) for _, setting in best]
            finite = [score for score in scores if math.isfinite(score)]
            at_edge = None
            if finite and all(map(is_number, values)):
                value, at_edge = best_value(dict(zip(values, scores, strict=True)), comparison.minimizes)
                if at_edge:
                    further = beyond(values, value, drawn_from(comparison, option))
                    advice = "" if further is None else f" (try {option}={written(further)})"
                    edges.append(f"{arm.name}: {option}={rounded([*values, value])[-1]}{advice}")
            spread = max(finite) - min(finite) if finite else None
            shown_edge = "" if at_edge is None else "yes" if at_edge else "no"
            own = value_of(arm.runs[0], option) if has(arm.runs[0], option) else ABSENT
            rows.append(
                (
                    arm.name,
                    option,
                    listed(rounded(values)),
                    len(best),
                    rounded([*values, own])[-1],
                    shown_edge,
                    spread,
                )
            )
            if finite and arm in shown(comparison):
                series.append(_series(comparison, arm, option, best))
        lacking = [arm for arm in comparison.arms if not has(arm.runs[0], option) and arm not in arms]
        rows += [(arm.name, option, ABSENT, None, ABSENT, "", None) for arm in lacking]
        if series:
            charts.append(_chart(comparison, option, series))
    parts: list[Part] = []
    if edges:
        parts.append(
            Text(
                f"Best at the edge of what was tried: {'; '.join(edges)}. A better value may lie beyond, so these arms "
                "may be better than shown here."
            )
        )
    parts.append(
        Table(
            "tuning",
            f"Options varied within an arm, on {data_of(comparison)}, scored by {comparison.selection_heading}",
            [
                Column("arm"),
                Column("option"),
                Column("values tried"),
                Column("values", form="{:,}"),
                Column("chosen"),
                Column("best at an edge"),
                Column("spread", comparison.selection_heading, "{:.4f}"),
            ],
            rows,
            "A value is scored by the best setting that has it, a setting by the mean of its seeds. "
            f"{ABSENT}: the arm does not have this option.",
        )
    )
    if budget := _budget(comparison):
        charts.append(budget)
    return Section("Tuning", [*parts, *charts])


def rounded(values: Sequence[Any]) -> list[str]:
    """Return values as text, numbers with as few digits, at least three, as tell them apart."""
    numbers = {value for value in values if isinstance(value, float)}
    enough = (count for count in range(3, 17) if len({f"{value:.{count}g}" for value in numbers}) == len(numbers))
    digits = next(enough, 17)
    return [written(float(f"{value:.{digits}g}") if isinstance(value, float) else value) for value in values]


def trials(comparison: Comparison, arm: Arm) -> Sequence[Setting]:
    """Return the settings tried to tune an arm, except a study's final runs, which repeat the best of them."""
    if comparison.study is None:
        return arm.settings
    return [setting for setting in arm.settings if setting is not arm.representative] or arm.settings


def profile(comparison: Comparison, arm: Arm, option: str) -> list[tuple[Any, Setting]]:
    """Return for each value of an option the best setting of an arm that has it, in the order of values.

    Settings without such an option are left out.
    """
    best: dict[str, tuple[Any, Setting]] = {}
    for setting in trials(comparison, arm):
        if not has(setting.runs[0], option):
            continue
        score = _cost(comparison, setting)
        value = value_of(setting.runs[0], option)
        previous = best.get(written(value))
        if previous is None or score < _cost(comparison, previous[1]):
            best[written(value)] = value, setting
    pairs = list(best.values())
    if all(is_number(value) for value, _ in pairs):
        return sorted(pairs, key=lambda pair: pair[0])  # type: ignore[arg-type, return-value]
    return sorted(pairs, key=lambda pair: written(pair[0]))


def _cost(comparison: Comparison, setting: Setting) -> float:
    """Return a score to minimize; infinite if a run diverged."""
    score = setting.mean(comparison.selection_metric) * (1 if comparison.minimizes else -1)
    return score if math.isfinite(score) else math.inf


def _series(comparison: Comparison, arm: Arm, option: str, best: Sequence[tuple[Any, Setting]]) -> Series:
    best = [(value, setting) for value, setting in best if math.isfinite(_cost(comparison, setting))]
    scores = [list(setting.scores(comparison.selection_metric).values()) for _, setting in best]
    numeric = all(is_number(value) for value, _ in best)
    return Series(
        arm.name,
        arm.name,
        {option: [float(value) if numeric else written(value) for value, _ in best]},  # type: ignore[arg-type]
        [sum(values) / len(values) for values in scores],
        [min(values) for values in scores],
        [max(values) for values in scores],
        details=[f"{len(values)} runs" for values in scores],
    )


def _chart(comparison: Comparison, option: str, series: Sequence[Series]) -> Chart:
    label = comparison.selection_heading
    values = [value for one in series for value in one.x[option]]
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) < len(values):  # categories of some arms are categories of all
        series = [replace(one, x={option: list(map(written, one.x[option]))}) for one in series]
    log = len(numbers) == len(values) and min(numbers) > 0 and max(numbers) >= 4 * min(numbers)
    best = min if comparison.minimizes else max
    words = []
    for one in series:
        score, value = best(zip(one.y, map(written, one.x[option]), strict=True))
        words.append(f"{one.name} is best at {value} with {short(score)}")
    return Chart(
        "sensitivity-" + re.sub(r"[^a-z0-9]+", "-", option.lower()).strip("-"),
        caption(f"{label} by {option}, on {data_of(comparison)}"),
        {option: Axis(option, log)},
        Axis(label),
        series,
        f"{label} against {option}: {'; '.join(words)}.",
        "Each value with the best setting of the other options; mean over seeds, from the lowest to the highest seed."
        + of_those_shown(comparison),
    )


def _budget(comparison: Comparison) -> Chart | None:
    series = []
    for arm in shown(comparison):
        scores = [setting.mean(comparison.selection_metric) for setting in trials(comparison, arm)]
        if len(scores) < TRIALS or not any(map(math.isfinite, scores)):
            continue
        best = expected_best(scores, comparison.minimizes)
        numbers = sorted({round(len(best) ** (place / POINTS)) for place in range(POINTS + 1)})
        best = [best[number - 1] for number in numbers]
        series.append(
            Series(
                arm.name,
                arm.name,
                {"trials": [float(number) for number in numbers]},
                [one.mean for one in best],
                [one.low for one in best],
                [one.high for one in best],
            )
        )
    if not series:
        return None
    label = comparison.selection_heading
    words = [f"{one.name} from {short(one.y[0])} to {short(one.y[-1])} with {one.x['trials'][-1]:g}" for one in series]
    return Chart(
        "expected-best",
        f"Expected best score by number of trials: {label} on {data_of(comparison)}",
        {"trials": Axis("settings tried")},
        Axis(f"expected best {label}"),
        series,
        f"Expected best score of one setting and of all: {'; '.join(words)}.",
        "Expected best of a number of settings drawn from those tried (Dodge et al. 2019, section 3.2), with its 95 % "
        "interval; beyond half of them it is too pessimistic and the interval too narrow. Settings that diverged count "
        "as the worst." + of_those_shown(comparison),
    )
