"""Run directories of other versions of lmlab: older ones are read as if written today, newer ones are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.config import Config
from lmlab.errors import UserError

VERSION = 1
"""The version of what a run directory holds; it grows when an older lmlab would misread what this one writes."""

_ADDED: Mapping[str, Any] = {
    "execution": {},
    "start": {"run": None, "checkpoint": "final", "optimizer": False, "embeddings": None},
    "trainer.nodes": 1,
    "trainer.tensor_parallel": 1,
    "trainer.activation_checkpointing": False,
    "trainer.out_of_memory": "halve",
}
"""Options that are younger than version 0, the one without a number, and what earlier runs amount to.

An option that a constructor has a default for needs no entry, unless the code reads it from the configuration itself.
"""


def read_config(config: Config) -> Config:
    """The saved configuration of a run of any version, with the options that it was too old to have."""
    for key, value in _ADDED.items():
        *parents, last = key.split(".")
        section: Any = config
        for parent in parents:
            section = section.get(parent, {})
        section.setdefault(last, value)
    return config


def read_manifest(manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """The manifest of the run at ``path``, with the version where it has none.

    Raises:
        UserError: it is of a newer version.
    """
    manifest = {"version": 0, **manifest}
    if manifest["version"] > VERSION:
        writer = manifest.get("provenance", {}).get("packages", {}).get("lmlab", "unknown")
        raise UserError(
            f"{path}: written in version {manifest['version']} of the run directory by lmlab {writer}; "
            f"this lmlab reads versions up to {VERSION}"
        )
    return manifest
