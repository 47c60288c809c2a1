"""Composition of the configurations of a sweep's jobs."""

import copy
from collections.abc import Sequence
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands.hints import explain
from lmlab.commands.located import located
from lmlab.commands.train import NOT_OF_A_RUN
from lmlab.config import Config, canonical
from lmlab.errors import UserError, within
from lmlab.sweeps.engines.engine import Engine
from lmlab.targets import resolve_target


def compose(launcher: Any, overrides: list[str], number: int = 0) -> DictConfig:
    """Compose the configuration of a sweep's job, and set it as Hydra's current configuration."""
    composed = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, overrides)
    with open_dict(composed), read_write(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
        composed.hydra.mode = RunMode.MULTIRUN
        composed.hydra.sweep.dir = launcher.config.hydra.sweep.dir
    HydraConfig.instance().set_config(composed)
    with open_dict(composed):
        del composed["hydra"]
    return cast(DictConfig, composed)


def changed(composed: DictConfig, overrides: list[str]) -> DictConfig:
    """Return a copy of a composed configuration with other values of options; no override may choose from a group."""
    if not overrides:
        return composed
    result = copy.deepcopy(composed)
    for override in OverridesParser.create().parse_overrides(overrides):
        if not override.key_or_group.startswith("hydra."):
            OmegaConf.update(result, override.key_or_group, override.value(), merge=True)
    return result


def composed(launcher: Any, words: Sequence[str], where: str) -> Config:
    """Compose the configuration of a run, or of its last stage if it has stages.

    Raises:
        UserError: the message begins with ``where``.
    """
    before = HydraConfig.instance().cfg
    try:
        config = canonical(compose(launcher, [*words]))
        if config["stages"] is not None:
            from lmlab.commands import stages

            return stages.compose(config["stages"], words)[-1].config
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(within(where, explain(error, "study", words))) from error
    except UserError as error:
        raise UserError(within(where, error)) from error
    finally:
        HydraConfig.instance().cfg = before
    return located({key: value for key, value in config.items() if key not in NOT_OF_A_RUN})


def plain(node: Any) -> dict[str, Any]:
    """Return a section of a composed configuration as plain values."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(node), resolve=True))


def computes_elsewhere(launcher: Any) -> bool:
    """Return whether a launcher's engine executes runs on other machines."""
    engine = resolve_target(launcher.node["_target_"], "hydra.launcher")
    return isinstance(engine, type) and issubclass(engine, Engine) and engine.elsewhere
