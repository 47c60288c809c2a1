"""Options of arms: those in which they differ, those that they are about, and those varied to tune them."""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.analysis.options import ABSENT, flat
from lmlab.analysis.records import Record
from lmlab.config.identity import without_effect
from lmlab.config.nodes import Config
from lmlab.config.overrides import option_of, option_of_run

PARTS_OF_MODEL = ("model", "mixer", "channel", "block", "head", "architecture")
"""Config groups that determine sections of ``model``."""

SIZES = ("budget.", "model.width", "model.depth", "model.parameters", "model.solved_from")
"""Options that set the size or budget: the largest value is the best, so varying them is not tuning."""


def options(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield the dotted options of a configuration that can change a result, with their values; lists are values."""
    return flat(config, {*without_effect(config), "seed"})


def differences_between(comparison: Comparison) -> list[tuple[str, dict[str, Any]]]:
    """Return every option in which the chosen settings of the arms differ, with its value for each arm.

    An option that an arm does not have is ``ABSENT`` there. Seeds, and what cannot change a result, are left out.
    """
    configs = {arm.name: dict(options(arm.runs[0].setting)) for arm in comparison.arms}
    names = sorted({name for config in configs.values() for name in config})
    by_option = [(name, {arm: config.get(name, ABSENT) for arm, config in configs.items()}) for name in names]
    return [
        (name, values)
        for name, values in by_option
        if not all_equal([None if value is ABSENT else value for value in values.values()])
    ]


def subject(comparison: Comparison) -> set[str]:
    """Return the sections of the configuration in which the arms are meant to differ.

    For a study, these are the sections that its arms set. Otherwise it is the group whose options the arms are named
    after; otherwise the model, if it differs; otherwise the only section that differs. The user's source files
    (``content``) count only if nothing else differs.
    """
    if comparison.study is not None:
        words = [word for own in comparison.study.arms.values() for word in own]
        groups = {option_of_run(option_of(word)).partition(".")[0] for word in words}
        return {"model" if group in PARTS_OF_MODEL else group for group in groups}
    choices = comparison.runs[0].manifest.get("choices", {}) if comparison.runs else {}
    named = {
        group
        for group in choices
        if all(
            arm.name in (run.choice(group), f"{group}={run.choice(group)}")
            for arm in comparison.arms
            for run in arm.runs
        )
    }
    if named:
        return {"model" if group in PARTS_OF_MODEL else group for group in named}
    sections = {name.partition(".")[0] for name, _ in differences_between(comparison)}
    sections = sections - {"content"} or sections
    return {"model"} if "model" in sections or len(sections) != 1 else sections


def tried(comparison: Comparison, arm: Arm) -> list[dict[str, Any]]:
    """Return the options of every setting that was tried in an arm, each setting once.

    A setting whose run failed, was pruned or has no score counts as tried, too.
    """
    runs = [setting.runs[0] for setting in arm.settings]
    for left in comparison.left_out:
        if left.arm == arm.name and left.record is not None and left.record.status in ("failed", "finished", "pruned"):
            runs.append(left.record)
    configs = [dict(options(run.setting)) for run in runs]
    return list({json.dumps(config, sort_keys=True, default=str): config for config in configs}.values())


def varied(comparison: Comparison, arm: Arm) -> dict[str, list[Any]]:
    """Return the options that differ among the settings tried in an arm, each with its distinct values."""
    configs = tried(comparison, arm)
    names = sorted({name for config in configs for name in config})
    by_option = {name: distinct([config.get(name) for config in configs]) for name in names}
    return {name: values for name, values in by_option.items() if len(values) > 1}


def value_of_arm(arm: Arm, option: str) -> Any:
    """Return the value of a dotted option in the chosen setting of an arm; ``None`` if it has none."""
    return dict(options(arm.runs[0].config)).get(option)


def by_arm(comparison: Comparison, read: Callable[[Record], Hashable]) -> dict[str, list[Any]]:
    """Return the distinct values of ``read`` over the chosen runs of each arm."""
    return {arm.name: distinct([read(run) for run in arm.runs]) for arm in comparison.arms}


def differ(values: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether the values of the arms are not all equal."""
    return not all_equal([value for of_arm in values.values() for value in of_arm])


def text(values: Mapping[str, Any]) -> str:
    """Return values by arm as text: ``lstm 128, transformer 256``."""
    return ", ".join(f"{arm} {' and '.join(map(short, as_list(value)))}" for arm, value in values.items())


def as_list(value: Any) -> list[Any]:
    """Return a value as a list; a single value becomes a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def short(value: Any) -> str:
    """Return a value as short text: numbers with four digits, the start of a fingerprint."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    text = str(value)
    hexadecimal = len(text) >= 16 and set(text) <= set("0123456789abcdef")
    return text[:12] if hexadecimal else text.removeprefix("lmlab.")


def distinct(values: Sequence[Any]) -> list[Any]:
    """Return the values without duplicates, in order; they need not be hashable."""
    unique: list[Any] = []
    for value in values:
        if value not in unique:
            unique.append(value)
    return unique


def all_equal(values: Sequence[Any]) -> bool:
    """Return whether there is at most one distinct value."""
    return len(distinct(values)) <= 1
