"""Configurations as nested dictionaries: reading, changing and comparing options by their dotted keys."""

from collections.abc import Iterator, Mapping
from typing import Any

Config = dict[str, Any]
Paths = dict[str, Any]
"""The section ``paths`` of every command, which :class:`lmlab.config.experiment.Folders` reads."""


def set_at(section: Config, key: str, value: Any) -> None:
    """Change the option with the dotted ``key`` below ``section`` in place."""
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = value


def at(section: Any, key: str) -> Any:
    """Return the value of the option with the dotted ``key`` below ``section``; ``None`` if there is none."""
    for part in key.split("."):
        section = section.get(part) if isinstance(section, dict) else None
    return section


def parent_of(section: Config, key: str) -> tuple[Config, str]:
    """Return the section that has the option with the dotted ``key`` (an empty one: no such section), and its name."""
    parent, _, last = key.rpartition(".")
    owner = at(section, parent) if parent else section
    return (owner if isinstance(owner, dict) else {}), last


def has(section: Config, key: str) -> bool:
    """Return whether ``section`` has an option with the dotted ``key``, with any value."""
    owner, last = parent_of(section, key)
    return last in owner


def keys(section: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every option below ``section``, and of every section."""
    for key, value in section.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from keys(value, f"{prefix}{key}.")


def differences(first: Config, second: Config, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ, with both values; an absent key has the value ``None``."""
    changed: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*first, *second}):
        one, other = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            changed |= differences(one, other, f"{prefix}{key}.")
        elif one != other:
            changed[f"{prefix}{key}"] = (one, other)
    return changed


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every option below ``node``; a list yields each of its elements."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            for one in value if isinstance(value, list) else [value]:
                yield f"{prefix}{key}", one
