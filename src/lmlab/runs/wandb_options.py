"""Names of a run at W&B and its mode: from its configuration, else from W&B's own settings. Imports no wandb."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmlab.config import Config
from lmlab.errors import UserError, nearest
from lmlab.runs.wandb_settings import read_settings

Mode = Literal["online", "offline", "disabled"]

MODES: Mapping[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""W&B's modes, with those that run directories know."""

DAY = 86_400

LONGEST_NAME, LONGEST_TAG, LONGEST_JOB_TYPE = 128, 64, 64
NOT_IN_PROJECT, NOT_IN_ID = "/\\#?%:", ":;,#?/'"


@dataclass(frozen=True)
class WandbOptions:
    """Names of a run at W&B; ``None`` for those that nothing sets.

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
            UserError: W&B would refuse a value; the message names the option, the variable or the file that has it.
        """
        section = (config.get("logger") or {}).get("wandb")
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
        # What the configuration says otherwise is refused, too, as wandb does.
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
    """Refuse times to wait for W&B that are none. Raises ``UserError``."""
    for option in ("init_timeout", "finish_timeout"):
        seconds = section.get(option, 1.0)
        if not 0 < seconds <= DAY:
            raise UserError(f"{prefix}{option}={seconds}: expected seconds, above 0 and at most {DAY}")


def _mode(configured: str, settings: Mapping[str, tuple[str, str]]) -> Mode | None:
    """Return the mode: disabled if anything disables W&B, else the variable, the configuration, the files."""
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
    """The mode that ``wandb.setup`` was given in this process, if that is not to send everything at once."""
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
        raise UserError(f"{source}={_cut(value)}: W&B takes at most {longest} characters, this has {len(str(value))}")


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
                f"{shown}: W&B takes tags of 1 to {LONGEST_TAG} characters, this one has {len(str(tag))}"
                " (logger=[] leaves W&B out)"
            )


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
