"""Sections ``model`` of configurations, composed without the rest of a configuration."""

from copy import deepcopy
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lmlab.config.canonical import CONF, canonical
from lmlab.config.check import validate


def model_section(*overrides: str) -> dict[str, Any]:
    """Return the section ``model`` that overrides, the choice of a model first, compose to on the command line.

    Each choice of files is composed once.
    """
    is_value = {word: "." in word.partition("=")[0] for word in overrides}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = deepcopy(_chosen(*(word for word in overrides if not is_value[word])))
        config.merge_with_dotlist([word.removeprefix("+") for word in overrides if is_value[word]])
        node: dict[str, Any] = canonical(config)["model"]
    validate(node, "model")
    return node


@cache
def _chosen(model: str, *parts: str) -> DictConfig:
    config = compose(model.replace("=", "/"), [*parts])
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, False)
    return config
