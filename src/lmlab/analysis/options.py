"""Options of configurations: which of them vary among runs, and what they are."""

from collections.abc import Iterable
from typing import Any

from lmlab.config import NOT_IDENTITY, Config, differences

_FOLLOWS = ("seed", "model.solved_from")
"""Options that no one tunes: seeds are repetitions, and what was solved follows from what was asked for."""


def varied(configs: Iterable[Config]) -> list[str]:
    """Dotted keys in which configurations differ, but for the seed and what cannot change a result."""
    first, *others = configs
    found = {key for config in others for key in differences(first, config)}
    if "model.parameters" in found:
        found.discard("model.width")  # it is solved for
    ignored = (*NOT_IDENTITY, *_FOLLOWS)
    return sorted(key for key in found if not any(key == top or key.startswith(f"{top}.") for top in ignored))


def at(config: Config, dotted: str) -> Any:
    """The value of an option; ``None`` where a configuration does not have it."""
    node: Any = config
    for part in dotted.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def written(value: Any) -> str:
    """A value as one would write it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_number(value: Any) -> bool:
    """Whether an option's value has a place on an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
