"""Read and write ``config.yaml``, and ``config.json``, a copy that is read fifty times as fast."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any


def dump(config: Any) -> str:
    """Return a plain configuration as YAML in OmegaConf's format, with ``${`` as literal text."""
    import yaml
    from omegaconf._utils import get_omega_conf_dumper

    options = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    return str(yaml.dump(config, Dumper=get_omega_conf_dumper(), **options))


def dump_copy(config: Any, text: str) -> str:
    """Return the content of ``config.json`` for a configuration whose ``config.yaml`` holds ``text``.

    It is an empty object if JSON cannot represent the configuration: an infinity, a key that is a number.
    """
    try:
        copy = json.dumps({"of": sha256(text.encode()).hexdigest(), "config": config}, allow_nan=False)
    except (TypeError, ValueError):
        return "{}\n"
    return f"{copy}\n" if json.loads(copy)["config"] == config else "{}\n"


def load(content: bytes, copy: Path | None = None) -> Any:
    """Return the configuration in ``config.yaml``.

    Args:
        content: content of the file.
        copy: path of ``config.json``, which is read instead if it was written for the same content.

    Raises:
        yaml.YAMLError: the content is not YAML.
    """
    try:
        saved = json.loads(copy.read_bytes()) if copy is not None else {}
        if saved.get("of") == sha256(content).hexdigest():
            return saved["config"]
    except (OSError, ValueError, AttributeError, KeyError):
        pass
    import yaml
    from omegaconf._utils import get_yaml_loader

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Load OmegaConf's format, including its numbers, ten times as fast."""

        yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

    return yaml.load(content, Loader)
