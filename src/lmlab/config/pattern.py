"""Options that are named inside another option: the mixers of a hybrid model's pattern, the data sets of a mixture."""

from functools import lru_cache
from typing import Any, cast

from lmlab.config.local_data import with_paths
from lmlab.config.short_names import long_name
from lmlab.errors import UserError, in_part, nearest

Config = dict[str, Any]


def of_pattern(model: Config) -> Config:
    """Return the sections of ``model`` that its pattern determines: the named options of the groups mixer and channel.

    Raises:
        UserError: the pattern is no list of names, or names an option that does not exist.
    """
    pattern, sections = model["pattern"], {"mixer": model["mixers"], "channel": model["channels"]}
    if not isinstance(pattern, list) or not all(isinstance(entry, str) for entry in pattern):
        raise UserError(f"model.pattern={pattern}: expected a list of mixers, for example [mamba2, mamba2, attention]")
    named: dict[str, Config] = {"mixer": {}, "channel": {}}
    for entry in pattern:
        for group, name in zip(named, entry.split("+", 1), strict=False):
            if name not in named[group]:
                option = _option(group, name, f"model.pattern={entry}")
                named[group][name] = None if option is None else option | (sections[group] or {}).get(name, {})
    for group, options in sections.items():
        for name in options or {}:
            if name not in named[group]:
                raise UserError(f"model.{group}s.{name}: the pattern has no such {group}{nearest(name, named[group])}")
    return {"mixer": None, "mixers": named["mixer"], "channels": named["channel"]}


def of_mixture(data: Config) -> dict[str, Config]:
    """Return the section ``data`` of each data set that a mixture names, with its options in ``data.parts``.

    The option ``data`` of a part names its data set, if the part has another name.

    Raises:
        UserError: the weights are no names, or name a data set that does not exist, or an option lacks a value.
    """
    weights, options = data["weights"], data["parts"] or {}
    if not isinstance(weights, dict | list) or not all(isinstance(name, str) for name in weights):
        raise UserError(
            f"data.weights={weights}: expected weights of data sets by name, as in {{wikitext2: 2, squad: 1}}, or a "
            "list of names"
        )
    if isinstance(weights, list) and len(set(weights)) < len(weights):
        raise UserError(f"data.weights={weights}: a name comes twice")
    for name in options:
        if name not in weights:
            raise UserError(f"data.parts.{name}: data.weights has no such data set{nearest(name, weights)}")
    parts = {}
    for name in weights:
        own = dict(options.get(name) or {})
        parts[name] = _with(_data(*_option_of_part(name, own.pop("data", None))), own)
        if missing := [key for key, value in parts[name].items() if value == "???"]:
            option = f"data.parts.{name}.{missing[0]}"
            raise UserError(f"{option} has no value: give one as +{option}=...")
        with in_part(name, parts[name]):
            parts[name] = with_paths(parts[name])
    return parts


def _with(section: Config, options: Config) -> Config:
    """Return a section with other options in place of its own; of a section in it, too."""
    nested = {
        key: _with(section[key], value)
        for key, value in options.items()
        if isinstance(value, dict) and isinstance(section.get(key), dict)
    }
    return section | options | nested


def _option_of_part(name: str, data: Any) -> tuple[str, str]:
    """Return the data set of a part of a mixture, and the option that names it.

    Args:
        data: the option ``data`` of the part; ``None``: its name is that of the data set.
    """
    option = f"data.weights.{name}" if data is None else f"data.parts.{name}.data={data}"
    data_set = name if data is None else str(data)
    if data_set == "mixture":
        raise UserError(f"{option}: a mixture cannot be part of a mixture")
    return data_set, option


def _option(group: str, name: str, where: str) -> Config | None:
    """Return ``model.<group>`` as composed by ``<group>=<name>``, from all folders of configurations in use."""
    composed = _composed(f"{long_name(group)}/{name}", [], group, name, where)
    section = composed.model[group]
    return None if section is None else _plain(section)


def _data(name: str, where: str) -> Config:
    """Return the section ``data`` as composed by ``data=<name>``."""
    return _plain(_composed("train", [f"data={name}"], "data", name, where).data)


def _composed(config: str, overrides: list[str], group: str, name: str, where: str) -> Any:
    """Compose a configuration that uses an option of a group. Raises ``UserError``: there is no such option."""
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    options = loader.get_group_options(group)
    if name not in options:
        other = f"; a name of your own needs +data.parts.{name}.data=..." if where == f"data.weights.{name}" else ""
        raise UserError(f"{where}: there is no {group} '{name}'{nearest(name, options)}{other}")
    return _loaded(loader, config, tuple(overrides))


@lru_cache(maxsize=256)
def _loaded(loader: Any, config: str, overrides: tuple[str, ...]) -> Any:
    """Compose a configuration once for all jobs of a sweep; it is not to be changed."""
    from hydra.types import RunMode

    return loader.load_configuration(config, list(overrides), RunMode.RUN, from_shell=False)


def _plain(section: Any) -> Config:
    from omegaconf import OmegaConf

    return cast(Config, OmegaConf.to_container(section, resolve=False))
