"""The identity of a result: a hash of all options that can change it."""

import hashlib
import json
from typing import Any

from lmlab.config.nodes import Config, parent_of, set_at

NOT_IDENTITY = (
    "name",
    "tags",
    "rerun",
    "progress",
    "paths",
    "logger",
    "execution",
    "data.licence",
    "start.directory",
    "callbacks.checkpoint",
    "callbacks.samples",
    "callbacks.watchdog",
    "callbacks.replicas",
    *(f"trainer.{key}" for key in ("devices", "nodes", "strategy", "accumulate", "threads", "out_of_memory")),
    *(f"trainer.{key}" for key in ("tensor_parallel", "activation_checkpointing")),
)
"""Keys that do not define the result, and so are no part of a run's identity.

The distribution of a batch over devices and micro-batches changes a result only by rounding and by the dropout masks,
as another machine would. A run can therefore be resumed with other devices.
"""

_PATHS = {"data.paths": "data", "data.files": "data", "tokenizer.path": "tokenizer"}

_LATER = {
    **dict.fromkeys(("validation.share", "model.ngrams", "model.block.token_shift", "start.embeddings")),
    **dict.fromkeys(("data.documents", "data.field")),
    "data.on_error": "fail",
    "data.stream": False,
    "batch.documents": "packed",
}
"""Options that earlier versions lacked, with the value that means the behaviour of these versions, if null does not."""


def identity(config: Config) -> str:
    """Return the ten-character id of a result: a hash of all keys of ``config`` that can change it."""
    relevant = result_config(config)
    model = relevant.get("model") or {}
    if (
        model.get("parameters") is None or model.get("parameters_within") is None
    ):  # keep the ids of versions without this option
        model.pop("parameters_within", None)
    if model.get("parameters") is not None:
        # Values that are solved from the requested size are no part of the identity.
        relevant["model"].pop("width", None)
        for key, requested in (relevant["model"].pop("solved_from", None) or {}).items():
            set_at(relevant["model"], key, requested)
    of_parts = {f"data.parts.{part}.stream": False for part in (relevant.get("data") or {}).get("parts") or {}}
    for key, earlier in (_LATER | of_parts).items():
        section, option = parent_of(relevant, key)
        if section.get(option) in (None, earlier):
            section.pop(option, None)
    data = relevant.get("data") or {}
    for section in (data, *(data.get("parts") or {}).values()):  # of a mixture
        _remove_what_is_off(section, "decoding", None)
        _remove_what_is_off(section, "clean", None, False, [])
        if (template := section.get("template", {})).get("truncation_side") == "left":
            del template["truncation_side"]
    text = json.dumps(relevant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _remove_what_is_off(data: Config, name: str, *off: Any) -> None:
    """Remove options of a section whose value is in ``off``, and the section if all are: earlier versions lacked it."""
    on = {key: value for key, value in (data.pop(name, None) or {}).items() if value not in off}
    if on.keys() - {"_target_"}:
        data[name] = on


def without_effect(config: Config) -> tuple[str, ...]:
    """Return the keys of ``config`` that cannot change a result; the path of a file with a checksum is one of them."""
    content = config.get("content") or {}
    return (*NOT_IDENTITY, *(path for path, name in paths_of(config).items() if name in content))


def paths_of(config: Config) -> dict[str, str]:
    """Return the options that may name the user's own files, with the name of their checksum in ``content``."""
    parts = (config.get("data") or {}).get("parts") or {}  # of a mixture
    return _PATHS | {f"data.parts.{part}.{key}": "data" for part in parts for key in ("paths", "files")}


def result_config(config: Config) -> Config:
    """Return a copy of ``config`` without the keys that cannot change a result."""
    relevant: Config = json.loads(json.dumps(config), parse_float=_whole, object_hook=_without_none)
    for key in without_effect(config):
        section, last = parent_of(relevant, key)
        section.pop(last, None)
    if (relevant.get("start") or {}).get("run") is None:  # keep the ids of versions without this option
        relevant.pop("start", None)
    return relevant


def _without_none(section: Config) -> Config:
    """Replace the word None, which ``wandb agent`` writes, by null."""
    return {key: None if value == "None" else value for key, value in section.items()}


def _whole(number: str) -> int | float:
    """Parse a number; whole numbers become ``int``, so that 1e6 and 1_000_000 have the same identity."""
    value = float(number)
    return int(value) if value.is_integer() else value
