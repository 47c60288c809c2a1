"""Options of runs: those that vary, and their values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from lmlab.config import nodes
from lmlab.config.identity import NOT_IDENTITY, paths_of
from lmlab.config.nodes import at, differences
from lmlab.config.overrides import written

if TYPE_CHECKING:
    from lmlab.analysis.records import Record

_FOLLOWS = ("seed", "model.solved_from", "content")
"""Options that are not tuned: seeds are repetitions, and the others follow from other options."""

_GROUPS: Mapping[str, tuple[str, str | None]] = {
    "model": ("model", None),
    "mixer": ("model.mixer", "model"),
    "channel": ("model.channel", "model"),
    "block": ("model.block", "model"),
    "head": ("model.head", "model"),
    "data": ("data", None),
    "tokenizer": ("tokenizer", "data"),
    "objective": ("objective", None),
    "optimizer": ("optimizer", None),
    "scheduler": ("scheduler", None),
    "callbacks": ("callbacks", None),
}
"""Groups of ``conf/``: the config section of each, and the group whose options select among its options."""


def varied(records: Iterable["Record"]) -> list[str]:
    """Return the groups and keys in which runs differ, except the seed and options that cannot change a result."""
    records = list(records)
    keys = differing(records)
    if "model.parameters" in keys:
        keys.discard("model.width")  # it is solved for
    ignored = (*NOT_IDENTITY, *_FOLLOWS)
    return by_choice(records, (key for key in keys if not any(f"{key}.".startswith(f"{top}.") for top in ignored)))


def differing(records: Iterable["Record"]) -> set[str]:
    """Return every dotted key in which the runs' configurations differ; other paths to the same file do not count."""
    first, *others = [record.setting for record in records]
    keys = {key for config in others for key in differences(first, config)}
    for option, name in paths_of(first).items():
        files = {at(config, f"content.{name}") for config in (first, *others)}
        if len(files) == 1 and None not in files:
            keys = {key for key in keys if not f"{key}.".startswith(f"{option}.")}
    return keys


def by_choice(records: Sequence["Record"], keys: Iterable[str]) -> list[str]:
    """Return dotted keys, sorted; a group replaces the keys whose values follow from its option.

    A key stays if runs with the same options of its groups differ in it.
    """
    groups = [group for group in _GROUPS if _differ(records, group)]
    result = set()
    for key in keys:
        above = [group for group in groups if f"{key}.".startswith(f"{_GROUPS[group][0]}.")]
        result |= {*above}
        if _differ(records, key, above):
            result.add(key)
    return sorted(result - {group for group in groups if not _differ(records, group, [_GROUPS[group][1]])})


def _differ(records: Sequence["Record"], key: str, alike: Sequence[str | None] = ()) -> bool:
    """Return whether two runs with the same options of the groups ``alike`` differ in a group or a key."""
    values: dict[tuple[str | None, ...], Any] = {}
    for record in records:
        value = value_of(record, key)
        if values.setdefault(tuple(group and record.choice(group) for group in alike), value) != value:
            return True
    return False


def flat(section: Mapping[str, Any], left_out: Set[str] = frozenset(), prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of every option below ``section``; lists and empty sections are values."""
    for key, value in section.items():
        name = f"{prefix}{key}"
        if name in left_out:
            continue
        if isinstance(value, Mapping) and value:
            yield from flat(value, left_out, f"{name}.")
        else:
            yield name, value


def value_of(record: "Record", key: str) -> Any:
    """Return a run's option of a group, or its value of a dotted key; ``None`` if it has neither."""
    return record.choice(key) if key in _GROUPS else at(record.setting, key)


ABSENT = "—"
"""Shown in place of the value of an option that a configuration lacks."""


def has(record: "Record", key: str) -> bool:
    """Return whether a run has a group or a dotted key, even if its value is null."""
    return key in _GROUPS or nodes.has(record.setting, key)


def text_of(record: "Record", key: str) -> str:
    """Return an option of a run as a user would write it; ``ABSENT`` if the run does not have it."""
    return written(value_of(record, key)) if has(record, key) else ABSENT


def assigned(record: "Record", key: str, name: str | None = None) -> str:
    """Return a run's option as ``lr=0.003`` or ``mixer=gru``, under another name if one is passed."""
    value = text_of(record, key)
    if key.endswith("._target_"):  # of a run that does not say which options it chose
        return f"{key.split('.')[-2]}={value.rpartition('.')[2]}"
    return f"{name or key}={value}"
