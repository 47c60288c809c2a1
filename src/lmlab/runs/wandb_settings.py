"""W&B's own settings: its environment variables, which go before the settings files.

The settings file of the working folder goes before that of the user. A variable without a value counts as unset. Only
:func:`check_settings` imports wandb.
"""

import configparser
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lmlab.errors import UserError
from lmlab.surroundings import expanded

VARIABLES = {
    "mode": ("WANDB_MODE",),
    "project": ("WANDB_PROJECT",),
    "entity": ("WANDB_ENTITY",),
    "run_name": ("WANDB_NAME", "WANDB_RUN_NAME"),
    "run_group": ("WANDB_RUN_GROUP",),
    "run_job_type": ("WANDB_JOB_TYPE", "WANDB_RUN_JOB_TYPE"),
    "run_tags": ("WANDB_TAGS", "WANDB_RUN_TAGS"),
    "run_notes": ("WANDB_NOTES", "WANDB_RUN_NOTES"),
    "run_id": ("WANDB_RUN_ID",),
}
"""Settings that options are read from, as W&B's files call them, with the variables that set them."""

_ANY_TEXT = {
    *("WANDB_API_KEY", "WANDB_DISABLED", "WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"),
    *(variable for variables in VARIABLES.values() for variable in variables),
}
"""Variables that wandb takes any text for, or that are checked elsewhere."""

_NOT_READ_FROM_FILES = ("anonymous", "settings_system", "root_dir")
"""Keys that wandb leaves out of a file, whatever their value."""


def read_settings() -> dict[str, tuple[str, str]]:
    """Return W&B's settings by name, each with its value and the source that messages name.

    Raises:
        UserError: a settings file cannot be read; W&B may be switched off there.
    """
    rows = _read_files()
    settings = {key: (value, f"{path}: {key}") for key, (value, path) in rows.items() if key in VARIABLES and value}
    for key, variables in VARIABLES.items():
        for variable in variables:
            if value := os.environ.get(variable):
                settings[key] = (value, variable)
                break
    return settings


def check_settings() -> None:
    """Refuse variables that wandb fails on, and values for which it ignores a whole settings file.

    Imports wandb where there are any to check.

    Raises:
        UserError: with the variable, or the file and its key.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith("WANDB_") and value}
    rows = {key: row for key, row in _read_files().items() if key not in _NOT_READ_FROM_FILES}
    if not rows and variables.keys() <= _ANY_TEXT:
        return
    import wandb

    for name, value in variables.items():
        _check(partial(wandb.Settings().update_from_env_vars, {name: value}), f"{name}={value}")
    for key, (value, path) in rows.items():
        fields: dict[str, Any] = {key: value.split(",") if key == "ignore_globs" else value}
        _check(partial(wandb.Settings, **fields), f"{path}: {key}={value}")


def forget_empty_variables() -> None:
    """Remove W&B's variables without a value from the environment: wandb takes them for values, and refuses some."""
    for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]:
        del os.environ[name]


def wandb_dir() -> Path | None:
    """Return the folder of ``WANDB_DIR``, where W&B is to keep its files of runs, if it is set."""
    folder = os.environ.get("WANDB_DIR")
    return expanded(folder) if folder else None


def _read_files() -> dict[str, tuple[str, Path]]:
    """Return the rows of W&B's settings files by key, each with its value and its file. Raises ``UserError``."""
    rows: dict[str, tuple[str, Path]] = {}
    user = expanded(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    # wandb disabled writes below WANDB_DIR where that is set.
    folders = [user, *(own_folder(parent) for parent in (Path(), wandb_dir()) if parent is not None)]
    for path in (folder / "settings" for folder in folders):
        parser = configparser.ConfigParser()
        try:
            parser.read(path)
            rows |= {key: (value, path) for key, value in parser.items("default")}
        except (configparser.NoSectionError, OSError):  # wandb, too, goes on without
            continue
        except (configparser.Error, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: W&B cannot read these settings ({reason})") from error
    return rows


def own_folder(parent: Path) -> Path:
    """Return the folder in ``parent`` that W&B's own files go into."""
    return parent / (".wandb" if (parent / ".wandb").exists() else "wandb")


def _check(read: Callable[[], Any], shown: str) -> None:
    import wandb

    try:
        read()
    except (ValueError, wandb.Error) as error:
        details: list[dict[str, Any]] = getattr(error, "errors", list)()  # of pydantic
        raise UserError(f"{shown}: W&B does not take this ({details[0]['msg'] if details else error})") from error
