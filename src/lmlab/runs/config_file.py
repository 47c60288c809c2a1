"""Read and write ``config.yaml``, and ``config.json``: the same for programs, which read it fifty times as fast."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any


def dump(config: Any) -> str:
    """Return a plain configuration as OmegaConf writes it, in which ``${`` is text."""
    import yaml
    from omegaconf._utils import get_omega_conf_dumper

    options = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    return str(yaml.dump(config, Dumper=get_omega_conf_dumper(), **options))


def dump_copy(config: Any, text: str) -> str:
    """Return the content of ``config.json`` for a configuration whose ``config.yaml`` holds ``text``.

    It is empty where JSON cannot hold the configuration: an infinity, a key that is a number.
    """
    try:
        copy = json.dumps({"of": sha256(text.encode()).hexdigest(), "config": config}, allow_nan=False)
    except (TypeError, ValueError):
        return "{}\n"
    return f"{copy}\n" if json.loads(copy)["config"] == config else "{}\n"


def load(content: bytes, copy: Path | None = None) -> Any:
    """Return what ``config.yaml`` holds.

    Args:
        content: of the file.
        copy: ``config.json``, which is read instead if it was written of the same content.

    Raises:
        yaml.YAMLError: it is no YAML.
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
        """Read what OmegaConf writes, numbers and all, ten times as fast."""

        yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

    return yaml.load(content, Loader)
