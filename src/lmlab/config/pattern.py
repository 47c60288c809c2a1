"""Mixers and channel mixers in the pattern of a hybrid model, composed like ``mixer=<name>`` and ``channel=<name>``."""

from typing import Any, cast

from lmlab.config.short_names import long_name
from lmlab.errors import UserError, nearest

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


def _option(group: str, name: str, where: str) -> Config | None:
    """Return ``model.<group>`` as composed by ``<group>=<name>``, from all folders of configurations in use."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    loader = GlobalHydra.instance().config_loader()
    options = loader.get_group_options(group)
    if name not in options:
        raise UserError(f"{where}: there is no {group} '{name}'{nearest(name, options)}")
    section = loader.load_configuration(f"{long_name(group)}/{name}", [], RunMode.RUN, from_shell=False).model[group]
    return None if section is None else cast(Config, OmegaConf.to_container(section, resolve=True))
