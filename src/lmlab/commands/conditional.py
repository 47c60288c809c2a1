"""Options of a sweep that only some of its jobs have, determined by composing their configurations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands import tables
from lmlab.commands.composing import plain
from lmlab.commands.hints import hint_among, only_with
from lmlab.errors import UserError
from lmlab.sweeps.options import SweepOptions
from lmlab.sweeps.search import Space

SHOWN = 4
"""Combinations of choices that a message names."""


class Composed:
    """Composer of a sweep's configurations, to determine which options they have.

    Args:
        launcher: Hydra's launcher of the command.
    """

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher
        self.keys: set[str] = set()
        """The options of all configurations composed so far."""

    def lacking(self, groups: Sequence[str], options: Sequence[str]) -> frozenset[str]:
        """Return the options that the configuration with the overrides ``groups`` lacks."""
        if not options:
            return frozenset()
        try:
            loader = self._launcher.hydra_context.config_loader
            composed = loader.load_sweep_config(self._launcher.config, [*groups])
        except (HydraException, OmegaConfBaseException):
            return frozenset()  # the job itself will report the error
        plain = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(plain, dict)
        self.keys.update(key for key in _keys(plain) if not key.startswith("hydra."))
        return frozenset(option for option in options if not _has(composed, option))


def space_of(words: Sequence[str], launcher: Any, announced: bool = True) -> Space:
    """Return the search space of a sweep, and print in one line which options only some of its jobs have.

    Args:
        announced: ``False``: do not print this line.

    Raises:
        UserError: a word cannot be read, or no job has the option.
    """
    loader = launcher.hydra_context.config_loader
    zipped = SweepOptions.read(plain(launcher.config.get("sweep") or {})).zipped
    space = Space(words, loader, zipped=zipped)
    if not space.varied_groups:
        return space
    composed = Composed(launcher)
    space = Space(words, loader, composed.lacking, zipped)
    for option, having in space.conditional.items():
        if not having:
            hint = only_with(option) or hint_among(option, composed.keys)
            raise UserError(f"{option}: no such option in any job{hint}")
    if space.conditional and announced:
        parts = [f"{option} only with {_described(having, space)}" for option, having in space.conditional.items()]
        tables.say("; ".join(parts), "Not every job has every option:")
    return space


def _described(having: Sequence[Mapping[str, str]], space: Space) -> str:
    """Return the choices that have an option: the values of one group if they determine it, else combinations."""
    for group in space.varied_groups:
        values = dict.fromkeys(choice[group.key] for choice in having)
        if len(having) == sum(choice[group.key] in values for choice in space.choices):
            return f"{group.key}={','.join(values)}"
    shown = [" ".join(f"{key}={value}" for key, value in choice.items()) for choice in having]
    return " or ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


def _has(composed: DictConfig, option: str) -> bool:
    parent, _, last = option.rpartition(".")
    section = OmegaConf.select(composed, parent, throw_on_missing=False)
    return OmegaConf.is_list(section) or (OmegaConf.is_dict(section) and last in list(section.keys()))


def _keys(section: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
