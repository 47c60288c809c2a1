"""What arms are: the options in which they differ, what they are about, and what was varied to tune them."""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from typing import Any

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.analysis.options import ABSENT
from lmlab.analysis.records import Record
from lmlab.config import Config, without_effect
from lmlab.overrides import option_of, option_of_run

PARTS_OF_MODEL = ("model", "mixer", "channel", "block", "head", "architecture")
"""Choices that decide about sections of ``model``."""

SIZES = ("budget.", "model.width", "model.depth", "model.parameters", "model.solved_from")
"""Options that say how much is spent; the best value of such a one is the largest, and no tuning."""


def options(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield the dotted options of a configuration that can change a result, with their values; lists are values."""
    return _options(config, {*without_effect(config), "seed"}, "")


def _options(section: Mapping[str, Any], left_out: Set[str], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        name = f"{prefix}{key}"
        if name in left_out:
            continue
        if isinstance(value, Mapping) and value:
            yield from _options(value, left_out, f"{name}.")
        else:
            yield name, value


def differences_between(comparison: Comparison) -> list[tuple[str, dict[str, Any]]]:
    """Return every option in which the chosen settings of the arms differ, with its value for each arm.

    An option that an arm does not have is ``ABSENT`` there. Seeds, and what cannot change a result, are left out.
    """
    configs = {arm.name: dict(options(arm.chosen.runs[0].setting)) for arm in comparison.arms}
    names = sorted({name for config in configs.values() for name in config})
    by_option = [(name, {arm: config.get(name, ABSENT) for arm, config in configs.items()}) for name in names]
    return [
        (name, values)
        for name, values in by_option
        if not all_equal([None if value is ABSENT else value for value in values.values()])
    ]


def subject(comparison: Comparison) -> set[str]:
    """Return which sections of the configuration the arms are meant to differ in.

    Those that a study's arms set; otherwise the group whose options the arms are named after; otherwise the model, if
    it differs; otherwise the only section that does. The user's source files (``content``) are one only where nothing
    else differs.
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
            for run in arm.chosen.runs
        )
    }
    if named:
        return {"model" if group in PARTS_OF_MODEL else group for group in named}
    sections = {name.partition(".")[0] for name, _ in differences_between(comparison)}
    sections = sections - {"content"} or sections
    return {"model"} if "model" in sections or len(sections) != 1 else sections


def tried(comparison: Comparison, arm: Arm) -> list[dict[str, Any]]:
    """Return the options of every setting that was tried in an arm, each setting once.

    One whose run failed, was pruned or has no score was tried as well: that is what it is worth.
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
    found = {name: distinct([config.get(name) for config in configs]) for name in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def chosen_value(arm: Arm, option: str) -> Any:
    """The value of a dotted option in the setting that stands for an arm; ``None`` where it has none."""
    return dict(options(arm.chosen.runs[0].config)).get(option)


def by_arm(comparison: Comparison, read: Callable[[Record], Hashable]) -> dict[str, list[Any]]:
    """Return the distinct values that ``read`` finds in the chosen runs of each arm."""
    return {arm.name: distinct([read(run) for run in arm.chosen.runs]) for arm in comparison.arms}


def differ(values: Mapping[str, Sequence[Any]]) -> bool:
    """Whether the values found by arm are not all one."""
    return not all_equal([value for found in values.values() for value in found])


def told(values: Mapping[str, Any]) -> str:
    """Values by arm in words: ``lstm 128, transformer 256``."""
    return ", ".join(f"{arm} {' and '.join(map(short, as_list(value)))}" for arm, value in values.items())


def as_list(value: Any) -> list[Any]:
    """A value on its own as a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def short(value: Any) -> str:
    """A value in few characters: numbers with four digits, the start of a fingerprint."""
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
    """The values without those that were there before, in order; they need not be hashable."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def all_equal(values: Sequence[Any]) -> bool:
    """Whether there is one value at most."""
    return len(distinct(values)) <= 1
