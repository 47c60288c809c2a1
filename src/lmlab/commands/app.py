"""Every command is a Hydra app with its own primary config; what a user did wrong becomes one clear line."""

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands import options
from lmlab.config import CONF, canonical, check_arguments
from lmlab.errors import Interrupted, RunFailed, UserError, nearest
from lmlab.runs.disk import failure_of_disk

LIST = "logger"
"""The one group of which a run may have several options, or none."""


def run_app(command: str) -> None:
    """Compose ``conf/<command>.yaml`` with the overrides in ``sys.argv`` and call ``task(**config)``.

    ``task`` and, where it exists, ``finish()``, called after the last job, are those of ``lmlab.commands.<command>``.
    The signature of ``task`` is the schema of the command's options.

    Raises:
        UserError: the configuration cannot be composed, or the task refused it.
        RunFailed: a run's own processes failed.
    """
    options.use_folder(sys.argv[1:])
    _check_groups()
    # Hydra then raises instead of printing and exiting.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    refused: list[UserError | RunFailed | Interrupted] = []
    began = False

    def task(composed: DictConfig) -> Any:
        # Imported only now, so that --help and --cfg answer at once; errors are kept for afterwards, because Hydra
        # would announce an exception with a line of its own.
        nonlocal began
        began = True
        options.say_in_place()
        module = importlib.import_module(f"lmlab.commands.{command}")
        try:
            config = canonical(composed)
            check_arguments(module.task, config, name=f"lmlab {command}")
            return module.task(**config)
        except (UserError, RunFailed, Interrupted) as error:
            if str(HydraConfig.get().launcher.get("_target_")).startswith("hydra_plugins.lmlab") and _is_sweep():
                raise  # the sweep records what has become of each job
            refused.append(error)
        except OSError as error:
            if failure_of_disk(error) is None:
                raise
            refused.append(RunFailed(f"{error.filename or config['paths']['outputs']}: {error.strerror}"))

    app = hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)(task)
    try:
        _call(app)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, command)) from error
    except ValueError as error:
        if not str(error).startswith("Only one of --"):
            raise
        raise UserError(str(error)) from error  # Hydra's own flags
    except OSError as error:
        if began or isinstance(error, BrokenPipeError):
            raise
        # Hydra makes its folder before it calls the task.
        raise UserError(f"paths.outputs: cannot be written ({error})") from error
    finish = getattr(sys.modules.get(f"lmlab.commands.{command}"), "finish", None)
    try:
        if finish is not None:
            finish()
    finally:
        if refused:  # several jobs of a sweep may have been
            raise refused[0] if len(refused) == 1 else UserError("\n".join(dict.fromkeys(map(str, refused))))


def _call(app: Callable[[], Any]) -> None:
    """Call a Hydra app; in a sweep over a group, an option may exist with other options of it than the default.

    Hydra first composes the default, with all words that have a single value; a choice of one is left to the jobs.
    """
    try:
        app()
    except HydraException as error:
        unknown = re.match(r"Could not override '([^']+)'", str(error))
        index = next((i for i, word in enumerate(sys.argv) if unknown and word.startswith(f"{unknown[1]}=")), None)
        if index is None or not _varies_groups(sys.argv[1:]):
            raise
        key, _, value = sys.argv[index].partition("=")
        sys.argv[index] = f"{key}=choice({value})"
        _call(app)


def _varies_groups(words: list[str]) -> bool:
    """Whether words ask for a sweep over the options of a group."""
    sweeps = any(word in ("-m", "--multirun") or word.startswith("sweep=") for word in words)
    pairs = [word.partition("=") for word in words]
    return sweeps and any("," in value and value[0] != "[" and (CONF / key).is_dir() for key, _, value in pairs)


def _check_groups() -> None:
    """Refuse what cannot choose an option: of several Hydra would mix one, and null ends it with a traceback.

    Raises:
        UserError: it names the word.
    """
    for word in sys.argv[1:]:
        group, _, value = word.partition("=")
        if not value or not (CONF / group).is_dir():
            continue
        if value.startswith("[") and group != LIST:
            raise UserError(f"{word}: expected one option (-m {group}={value.strip('[]')} makes a sweep of several)")
        if re.fullmatch(r"null|[-+.\d]+", value):
            known = [path.stem for path in (CONF / group).glob("*.yaml")]
            none = f"; {group}=[] for none" if group == LIST else ""
            raise UserError(f"{word}: no such option{nearest(value, known)}{none}")


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def explain(error: Exception, command: str) -> str:
    """Say in one line what is wrong with the overrides, with the nearest thing that would have been right."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={option}: no such option{nearest(option, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read ({error.message.splitlines()[0]})"
    text = str(error)
    if several := re.match(r"Ambiguous value for argument '(.*?)'\n", text):
        # Hydra also comes to this where sweep= would have asked for a sweep, but something else is wrong.
        wrong = _wrong_otherwise(command)
        key, _, values = several[1].partition("=")
        return (
            wrong or f"{several[1]}: several values need -m, which makes a sweep (a list is written {key}=[{values}])"
        )
    unknown = re.search(r"Could not (?:override|append)[^']*'([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    if unknown:
        key = unknown[1].partition("@")[0]
        return f"{key}: no such option{_nearest_key(key, command)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cause = error.__cause__
    if isinstance(error, CompactHydraException) and isinstance(cause, OmegaConfBaseException):
        lines.append(str(cause).splitlines()[0])
    return " ".join(lines)


def _wrong_otherwise(command: str) -> str | None:
    """What else is wrong with the overrides than that several values are given."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    words = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            hydra.compose(command, [word for word in words if "," not in word])
    except (HydraException, OmegaConfBaseException) as error:
        return explain(error, command)
    return None


def _nearest_key(key: str, command: str) -> str:
    """The option of ``command`` nearest to ``key``: by its whole path, or else by its last part."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    overrides = [word for word in sys.argv[1:] if "=" in word and re.match(r"[a-z_/]+=[\w,]+$", word)]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for attempt in (overrides, []):
            try:
                words = [word.partition(",")[0] for word in attempt]
                composed = hydra.compose(command, words, return_hydra_config=True)
            except (HydraException, OmegaConfBaseException):
                continue
            launcher = _keys(composed.hydra.launcher, "hydra.launcher.")
            del composed.hydra
            keys = [known for known in [*_keys(composed), *launcher] if known != key]
            groups = [folder.name for folder in CONF.iterdir() if folder.is_dir()]
            same_end = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
            return f" (did you mean '{same_end[0]}'?)" if same_end else nearest(key, keys + groups)
    return ""


def _keys(node: Any, prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in node:
        path = prefix + str(key)
        found.append(path)
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not child._is_none() and not child._is_interpolation():
            found += _keys(child, f"{path}.")
    return found
