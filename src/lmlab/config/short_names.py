"""Short names of nested groups: ``mixer=gru`` is Hydra's ``model/mixer=gru``.

Command lines, a study's arms, sweeps, patterns and the records of runs use the short name. Only Hydra's loader, which
is wrapped here, uses the long one: the folder of the group's files. Hydra is imported only in ``install``.
"""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

NESTED = {part: f"model/{part}" for part in ("mixer", "channel", "block", "head")}
"""Groups below another one, by their short names."""

BASE = ("model", "base")
"""A group and its file that the options extend. The file itself is no option."""

_SHORT = {long: name for name, long in NESTED.items()}
_LONG_KEY = re.compile(rf"\A([~+]*)({'|'.join(_SHORT)})(?=[=+@]|$)")


def long_name(group: str) -> str:
    """Return the name of a group in Hydra, which is its folder in ``conf/``."""
    return NESTED.get(group, group)


def short_name(group: str) -> str:
    """Return the name of a group on a command line."""
    return _SHORT.get(group, group)


def shortened(word: str) -> str:
    """Return an override with the short name of the group that it chooses from."""
    return _LONG_KEY.sub(lambda match: match[1] + _SHORT[match[2]], word)


def install() -> None:
    """Wrap Hydra's loader so that it accepts and returns short names."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    loader: Any = ConfigLoaderImpl
    if not hasattr(loader.get_group_options, "__wrapped__"):
        loader._parse_overrides_and_create_caching_repo = _reading(loader._parse_overrides_and_create_caching_repo)
        loader.load_configuration = _recording(loader.load_configuration)
        loader.get_group_options = _listing(loader.get_group_options)


def _reading(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the parser of overrides to accept short names; the recorded text of an override is not changed."""

    @wraps(parse)
    def parsed(self: Any, config_name: str | None, overrides: list[str]) -> Any:
        result, repository = parse(self, config_name, overrides)
        for override in result:
            override.key_or_group = long_name(override.key_or_group)
        return result, repository

    return parsed


def _recording(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the loader to record choices by short names."""

    @wraps(load)
    def loaded(self: Any, *arguments: Any, **options: Any) -> Any:
        from omegaconf import open_dict

        config = load(self, *arguments, **options)
        choices = config.hydra.runtime.choices
        with open_dict(choices):
            for group in [group for group in choices if group in _SHORT]:
                choices[_SHORT[group]] = choices.pop(group)
        return config

    return loaded


def _listing(list_options: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Wrap the listing of options: nested groups appear at the top level by short name, and ``BASE`` is omitted."""
    from hydra.core.object_type import ObjectType

    @wraps(list_options)
    def listed(
        self: Any, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG, *more: Any, **options: Any
    ) -> list[str]:
        names = list_options(self, long_name(group_name), results_filter, *more, **options)
        if results_filter == ObjectType.GROUP and group_name == "":
            return sorted({*names, *NESTED})
        return [name for name in names if (group_name, name) != BASE and f"{group_name}/{name}" not in _SHORT]

    return listed
