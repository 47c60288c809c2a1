"""Options of runs: which of them vary, and what they are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmlab import config
from lmlab.config import NOT_IDENTITY, at, differences
from lmlab.overrides import written

if TYPE_CHECKING:
    from lmlab.analysis.records import Record

_FOLLOWS = ("seed", "model.solved_from", "content")
"""Options that no one tunes: seeds are repetitions, and what was solved follows from what was asked for."""

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
"""Groups of ``conf/``: the section that their options are, and the group whose options choose one of theirs."""


def varied(records: Iterable["Record"]) -> list[str]:
    """Groups and dotted keys in which runs differ, but for the seed and what cannot change a result."""
    records = list(records)
    keys = differing(records)
    if "model.parameters" in keys:
        keys.discard("model.width")  # it is solved for
    ignored = (*NOT_IDENTITY, *_FOLLOWS)
    return by_choice(records, (key for key in keys if not any(f"{key}.".startswith(f"{top}.") for top in ignored)))


def differing(records: Iterable["Record"]) -> set[str]:
    """Every dotted key in which the configurations of runs differ; places of one text are no difference."""
    first, *others = [record.setting for record in records]
    keys = {key for config in others for key in differences(first, config)}
    texts = {at(config, "content.data") for config in (first, *others)}
    return {key for key in keys if len(texts) > 1 or None in texts or not f"{key}.".startswith("data.paths.")}


def by_choice(records: Sequence["Record"], keys: Iterable[str]) -> list[str]:
    """Return dotted keys, sorted, with a group in the place of those whose values follow from its options.

    A key stays where runs that chose the same options differ in it.
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
    """Return whether two runs that chose the same options of the groups ``alike`` differ in a group or a key."""
    values: dict[tuple[str | None, ...], Any] = {}
    for record in records:
        value = value_of(record, key)
        if values.setdefault(tuple(group and record.choice(group) for group in alike), value) != value:
            return True
    return False


def value_of(record: "Record", key: str) -> Any:
    """The option that a run chose of a group, or the value of a dotted key; ``None`` where it has neither."""
    return record.choice(key) if key in _GROUPS else at(record.setting, key)


ABSENT = "—"
"""In the place of the value of an option that a configuration does not have."""


def has(record: "Record", key: str) -> bool:
    """Return whether a run has a group or a dotted key, whatever its value."""
    return key in _GROUPS or config.has(record.setting, key)


def text_of(record: "Record", key: str) -> str:
    """An option of a run as one would write it; ``ABSENT`` where the run does not have it."""
    return written(value_of(record, key)) if has(record, key) else ABSENT


def assigned(record: "Record", key: str, name: str | None = None) -> str:
    """``lr=0.003``, ``mixer=gru``: an option of a run, called ``name`` if not by its own."""
    value = text_of(record, key)
    if key.endswith("._target_"):  # of a run that does not say which options it chose
        return f"{key.split('.')[-2]}={value.rpartition('.')[2]}"
    return f"{name or key}={value}"


def is_number(value: Any) -> bool:
    """Whether an option's value has a place on an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
