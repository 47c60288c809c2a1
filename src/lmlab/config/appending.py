"""``option+=value``: add a value to a list of the configuration, or an option to a group that allows several.

Hydra 1.3 has no such override. Its loader is wrapped: additions are removed from the words, the other words are
composed, and the additions are applied to the composed configuration. A value is therefore added to the list of the
experiment, data set or study arm that the other words choose, and every job of a sweep adds to its own list. As with
``=``, words apply from left to right.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from lmlab.config import options
from lmlab.config.options import LIST, SEVERAL
from lmlab.config.overrides import is_addition, option_of, plain_word, written
from lmlab.config.references import ONCE, kinds_of
from lmlab.errors import UserError, nearest


def install() -> None:
    """Wrap Hydra's loader so that it reads additions."""
    if not hasattr(ConfigLoaderImpl.load_configuration, "__wrapped__"):
        ConfigLoaderImpl.load_configuration = _with_additions(ConfigLoaderImpl.load_configuration)  # type: ignore[method-assign]


def _with_additions(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    @wraps(load)
    def load_configuration(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], run_mode: RunMode, **more: Any
    ) -> DictConfig:
        if not any(map(is_addition, overrides)):
            return load(self, config_name, overrides, run_mode, **more)
        words = [word for word in overrides if not is_addition(word)]
        additions = _read(overrides, run_mode)
        groups = {key: self.get_group_options(key) for key in additions}
        choices: dict[str, list[str]] = {}
        for key in [key for key, names in groups.items() if names]:
            choices[key] = _choice(self, config_name, words, run_mode, key, additions.pop(key))
            names = written(choices[key] if key == LIST or len(choices[key]) > 1 else choices[key][0])
            words = [*(word for word in words if option_of(word) != key), f"{key}={names}"]
        composed = load(self, config_name, words, run_mode, **more)
        for key, values in additions.items():
            _extend(composed, key, values, run_mode)
        own = composed.hydra.overrides
        own.hydra = [word for word in overrides if option_of(word).startswith(("hydra.", "hydra/"))]
        own.task = [word for word in overrides if word not in own.hydra]
        with open_dict(composed.hydra):  # Hydra records only single options there
            composed.hydra.runtime.choices.update(
                {key: written(names) for key, names in choices.items() if names[1:] and key != LIST}
            )
        return composed

    return load_configuration


def _read(words: Sequence[str], run_mode: RunMode) -> dict[str, list[Any]]:
    """Return the values that ``words`` add to each option; swept ones are left to the jobs. Raises ``UserError``."""
    parser = OverridesParser.create()
    additions: dict[str, list[Any]] = {}
    for word in words:
        key = option_of(word)
        if not is_addition(word):
            additions.pop(key, None)
            continue
        override = parser.parse_override(plain_word(word))
        if override.is_sweep_override():
            if run_mode == RunMode.RUN:
                values = word.partition("=")[2]
                raise UserError(
                    f"{word}: several values need -m, which makes a sweep (a list is added as {key}+=[{values}])"
                )
            continue
        value = override.value()
        additions.setdefault(key, []).extend(value if isinstance(value, list) else [value])
    return additions


def _choice(
    loader: ConfigLoaderImpl, config_name: str | None, words: list[str], run_mode: RunMode, group: str, names: list[Any]
) -> list[str]:
    """Return the options of a group together with the added ones.

    An option that extends others, as early_stopping extends default, comes before the present ones, which keep their
    settings.

    Raises:
        UserError: there is no such option, or a run can have only one option of the group.
    """
    if group not in SEVERAL:
        value = written(names)[1:-1]
        raise UserError(f"{group}+={value}: a run has one option of {group} ({group}={value} chooses it)")
    defaults = loader.compute_defaults_list(config_name, words, run_mode).defaults
    present = [
        str(default.config_path).removeprefix(f"{group}/")
        for default in defaults
        if str(default.config_path).startswith(f"{group}/") and not str(default.parent).startswith(f"{group}/")
    ]
    for name in map(str, names):
        if name not in (available := options.options_of(group)):
            raise UserError(f"{group}+={name}: no such option{nearest(name, available)}")
        extended = options.extended_by(group, name)
        if any(name in (other, *options.extended_by(group, other)) for other in present):
            continue
        others = [other for other in present if other not in extended]
        present = [name, *others] if extended else [*others, name]
    return present


def _extend(config: DictConfig, key: str, values: list[Any], run_mode: RunMode) -> None:
    """Add values to a list of a composed configuration.

    Raises:
        UserError: the option is no list.
        ConfigCompositionException: there is no such option.
    """
    parent, _, last = key.rpartition(".")
    section = OmegaConf.select(config, parent) if parent else config
    if not OmegaConf.is_dict(section) or last not in list(section.keys()):  # keys() includes missing values
        if run_mode == RunMode.MULTIRUN:  # some jobs may have it
            return
        raise ConfigCompositionException(f"Could not override '{key}'.")
    value = OmegaConf.select(config, key, throw_on_missing=False)
    kinds = kinds_of(key)
    if value is None and (not kinds or list in kinds):
        value = []
    elif isinstance(value, str) and list in kinds:
        value = [value]
    if not OmegaConf.is_list(value) and not isinstance(value, list):
        added = written(values)[1:-1] if len(values) == 1 else written(values)
        now = "null" if value is None else _kind(value)
        sets = "" if OmegaConf.is_dict(value) else f" ({key}={added} sets it)"
        raise UserError(f"{key}+={added}: {key} is {now}, not a list{sets}")
    result = list(value)
    for one in values:
        if key not in ONCE or one not in result:
            result.append(one)
    OmegaConf.update(config, key, result, merge=False)


def _kind(value: Any) -> str:
    if OmegaConf.is_dict(value):
        return "a section"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(type(value), type(value).__name__)
