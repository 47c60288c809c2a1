"""W&B settings of a run: from its configuration, else from W&B's own environment variables and settings files.

Variables take precedence over files, and the settings file of the working folder over the user's. A variable
without a value counts as unset. Only :func:`check_settings` imports wandb.
"""

import configparser
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lmlab.config.nodes import Config, at
from lmlab.errors import UserError, nearest
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
"""Settings read for options, by their names in W&B's files, with the variables that set them."""

_ANY_TEXT = {
    *("WANDB_API_KEY", "WANDB_DISABLED", "WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"),
    *(variable for variables in VARIABLES.values() for variable in variables),
}
"""Variables for which wandb accepts any text, or that are checked elsewhere."""

_NOT_READ_FROM_FILES = ("anonymous", "settings_system", "root_dir")
"""Keys in a file that wandb ignores, with any value."""


def read_settings() -> dict[str, tuple[str, str]]:
    """Return W&B's settings by name, each with its value and its source for messages.

    Raises:
        UserError: a settings file cannot be read, so whether it disables W&B is unknown.
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
    """Refuse variables that make wandb fail, and values for which it ignores a whole settings file.

    Import wandb if there are any to check.

    Raises:
        UserError: names the variable, or the file and its key.
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


def wandb_dir() -> Path | None:
    """Return the folder in ``WANDB_DIR``, the place of W&B's own files of runs; ``None`` if unset."""
    folder = os.environ.get("WANDB_DIR")
    return expanded(folder) if folder else None


def _read_files() -> dict[str, tuple[str, Path]]:
    """Return the entries of W&B's settings files by key, each with its value and its file. Raises ``UserError``."""
    rows: dict[str, tuple[str, Path]] = {}
    user = expanded(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    # wandb disabled writes below WANDB_DIR if that is set.
    folders = [user, *(own_folder(parent) for parent in (Path(), wandb_dir()) if parent is not None)]
    for path in (folder / "settings" for folder in folders):
        parser = configparser.ConfigParser()
        try:
            parser.read(path)
            rows |= {key: (value, path) for key, value in parser.items("default")}
        except (configparser.NoSectionError, OSError):  # wandb ignores these too
            continue
        except (configparser.Error, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: W&B cannot read these settings ({reason})") from error
    return rows


def own_folder(parent: Path) -> Path:
    """Return the folder in ``parent`` for W&B's own files."""
    return parent / (".wandb" if (parent / ".wandb").exists() else "wandb")


def _check(read: Callable[[], Any], shown: str) -> None:
    import wandb

    try:
        read()
    except (ValueError, wandb.Error) as error:
        details: list[dict[str, Any]] = getattr(error, "errors", list)()  # of pydantic
        raise UserError(f"{shown}: W&B refuses this value ({details[0]['msg'] if details else error})") from error


Mode = Literal["online", "offline", "disabled"]

MODES: Mapping[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""W&B's modes, mapped to those used in run directories."""

DAY = 86_400

LONGEST_NAME, LONGEST_TAG, LONGEST_JOB_TYPE = 128, 64, 64
NOT_IN_PROJECT, NOT_IN_ID = "/\\#?%:", ":;,#?/'"


@dataclass(frozen=True)
class WandbOptions:
    """W&B options of a run; ``None`` for unset names.

    Attributes:
        mode: ``None``: online if credentials are found.
    """

    mode: Mode | None
    project: str
    entity: str | None
    name: str | None
    group: str | None
    notes: str | None
    job_type: str | None
    tags: Sequence[str]

    @classmethod
    def of(cls, config: Config) -> "WandbOptions | None":
        """Read the options of a run's configuration; ``None`` where nothing is logged to W&B.

        Raises:
            UserError: W&B would refuse a value; the message names the option, the variable or the file that sets it.
        """
        section = at(config, "logger.wandb")
        return None if section is None else cls.read(section, config.get("tags") or ())

    @classmethod
    def read(cls, section: Mapping[str, Any], tags: Sequence[str]) -> "WandbOptions | None":
        """Read the section ``logger.wandb`` and the tags of a configuration. Raises ``UserError``: see :meth:`of`."""
        check_timeouts(section, "logger.wandb.")
        settings = read_settings()
        mode = _mode(section.get("mode", "auto"), settings)
        if mode == "disabled":
            return None
        named = {
            option: _first((section.get(option), f"logger.wandb.{option}"), settings.get(setting))
            for option, setting in {
                "project": "project",
                "entity": "entity",
                "name": "run_name",
                "group": "run_group",
                "notes": "run_notes",
            }.items()
        }
        # Values that the configuration overrides are refused too, as wandb does.
        for sourced in (named["project"], settings.get("project", (None, ""))):
            _check_project(*sourced)
        for option in ("name", "group", "entity"):
            _check_length(*named[option])
        job_type, source = settings.get("run_job_type", (None, ""))
        _check_length(job_type, source, LONGEST_JOB_TYPE)
        _check_id(*settings.get("run_id", (None, "")))
        value, source = settings.get("run_tags", (None, ""))
        others = [] if value is None else value.split(",")
        _check_tags(others, source)
        _check_tags(tags, "tags")
        values = {option: value for option, (value, _) in named.items()}
        values["project"] = values["project"] or "lmlab"
        return cls(mode=mode, job_type=job_type, tags=list(tags) or others, **values)


def check_timeouts(section: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse invalid W&B timeouts. Raises ``UserError``."""
    for option in ("init_timeout", "finish_timeout"):
        seconds = section.get(option, 1.0)
        if not 0 < seconds <= DAY:
            raise UserError(f"{prefix}{option}={seconds}: expected seconds, above 0 and at most {DAY}")


def _mode(configured: str, settings: Mapping[str, tuple[str, str]]) -> Mode | None:
    """Return the mode: disabled if anything disables W&B, else that of the variable, the configuration, the files."""
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "t", "yes", "y", "on"):
        return "disabled"
    value, source = settings.get("mode", (None, ""))
    modes = {"auto", "online", "offline", "disabled"}
    if configured not in modes:
        raise UserError(f"logger.wandb.mode={configured}: unknown value{nearest(configured, modes)}")
    if value is not None and value not in MODES:
        raise UserError(f"{source}={value}: W&B has no such mode{nearest(value, MODES)}")
    own = None if value is None else MODES[value]
    live = _mode_of_process()
    if live is not None and source != "WANDB_MODE":
        own, source = live, "wandb.setup"
    if own == "disabled" or source == "WANDB_MODE":
        return own
    return MODES.get(configured, own)


def _mode_of_process() -> Mode | None:
    """Return the mode that ``wandb.setup`` was called with in this process; ``None`` for online."""
    if "wandb" not in sys.modules:
        return None
    from wandb.sdk import wandb_setup

    settings = wandb_setup.singleton().settings_if_loaded
    mode = None if settings is None else MODES.get(settings.mode)
    return None if mode == "online" else mode


def _first(configured: tuple[Any, str], other: tuple[str, str] | None) -> tuple[Any, str]:
    return configured if configured[0] not in (None, "") or other is None else other


def _check_project(value: Any, source: str) -> None:
    if value is None:
        return
    wrong = [char for char in NOT_IN_PROJECT if char in str(value)]
    if wrong or not 0 < len(str(value)) <= LONGEST_NAME:
        why = f"has {' '.join(wrong)}" if wrong else f"has {len(str(value))}"
        raise UserError(
            f"{source}={_cut(value)}: expected the name of a W&B project, of 1 to {LONGEST_NAME} characters without "
            f"{' '.join(NOT_IN_PROJECT)} ({why})"
        )


def _check_length(value: Any, source: str, longest: int = LONGEST_NAME) -> None:
    if value is not None and len(str(value)) > longest:
        raise UserError(f"{source}={_cut(value)}: W&B accepts at most {longest} characters, this has {len(str(value))}")


def _check_id(value: str | None, source: str) -> None:
    if value is not None and (
        len(value) > LONGEST_NAME or value != value.strip() or any(char in value for char in NOT_IN_ID)
    ):
        raise UserError(
            f"{source}={_cut(value)}: expected the id of a W&B run, of 1 to {LONGEST_NAME} characters without "
            f"{' '.join(NOT_IN_ID)} and without space at its ends"
        )


def _check_tags(tags: Sequence[Any], source: str) -> None:
    for tag in tags:
        if not 0 < len(str(tag)) <= LONGEST_TAG:
            shown = f"{source}={','.join(map(str, tags))}" if len(str(tag)) == 0 else f"{source}: {_cut(tag)}"
            raise UserError(
                f"{shown}: W&B accepts tags of 1 to {LONGEST_TAG} characters, this one has {len(str(tag))}"
                " (logger=[] omits W&B)"
            )


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
