"""Reading and writing ``config.yaml``. Those of a thousand runs differ in a few lines: no section is parsed twice."""

import pickle
import re
from functools import lru_cache
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper, get_yaml_loader


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads what OmegaConf writes, numbers and all, ten times as fast."""

    yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers


_SECTION = re.compile(rb"^(?=[^\s#-])", re.MULTILINE)
_KEY = re.compile(rb"[A-Za-z_]\w*:[ \r\n]")


def dump(config: Any) -> str:
    """A plain configuration as OmegaConf writes it, in which ``${`` is text."""
    options = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    return str(yaml.dump(config, Dumper=get_omega_conf_dumper(), **options))


def load(content: bytes) -> Any:
    """What a YAML file holds, in containers that nobody else has.

    A mapping in block style is read section by section: from one key at the margin to the next. What does not come
    apart like that, or is broken, is read as a whole.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    sections = [section for section in _SECTION.split(content) if section]
    if sections and all(_KEY.match(section) for section in sections):
        try:
            found = [pickle.loads(_parsed(section)) for section in sections]
        except yaml.YAMLError:  # a text that goes on at the margin, or names what another section defines
            return yaml.load(content, _Loader)
        if all(isinstance(section, dict) and len(section) == 1 for section in found):
            return {key: value for section in found for key, value in section.items()}
    return yaml.load(content, _Loader)


@lru_cache(maxsize=20_000)
def _parsed(section: bytes) -> bytes:
    return pickle.dumps(yaml.load(section, _Loader))
