"""Commands as Hydra apps, each with its own primary config; a user's error becomes one clear line."""

import errno
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands.hints import check_output, check_words, checked_choices, explain
from lmlab.config import options
from lmlab.config.canonical import CONF, canonical
from lmlab.config.check import check_arguments
from lmlab.config.nodes import at, leaves
from lmlab.config.overrides import as_typed
from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.runs.disk import failure_of_disk
from lmlab.surroundings import use_writable_folders

_typed: dict[str, str] = {}
"""Words whose evaluation is left to the jobs of a sweep: typed form by Hydra's form."""


def typed_words() -> list[str]:
    """Return the words of the command line as they were typed, so that the command can be repeated."""
    return [_typed.get(word, as_typed(word)) for word in sys.argv[1:]]


def run_app(command: str) -> Any:
    """Compose ``conf/<command>.yaml`` with the overrides in ``sys.argv``, call ``main(**config)`` and return its value.

    ``main`` is defined in ``lmlab.commands.<command>``; its signature is the schema of the command's options. If the
    module has a function ``finish()``, it is called after the last job.

    Raises:
        UserError: the configuration cannot be composed, or the command refuses it.
        RunFailed: a run's own processes failed.
    """
    check_words(command, sys.argv[1:])
    check_output(sys.argv[1:])
    options.use_folder(sys.argv[1:])
    sys.argv[1:] = checked_choices(sys.argv[1:])
    # Hydra then raises instead of printing and exiting.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    failures: list[Exception] = []
    began = False
    value: Any = None

    def job(composed: DictConfig) -> Any:
        # The command is imported only here, so that --help and --cfg are fast. Errors are stored and raised after
        # Hydra has returned, because Hydra would print a line of its own about an exception.
        nonlocal began, value
        began = True
        options.say_notes()
        module = importlib.import_module(f"lmlab.commands.{command}")
        config: Any = {}
        try:
            config = canonical(composed)
            use_writable_folders(Path(at(config, "paths.cache")))
            check_arguments(module.main, config, name=f"lmlab {command}")
            value = module.main(**config)
            return value
        except Exception as error:
            reason = _explained(error, config)
            if _is_sweep() and not _in_process():
                raise reason from reason.__cause__  # the sweep records the error with the job
            failures.append(reason)

    app = hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)(job)
    try:
        with _mode_from_words(command, sys.argv[1:]):
            _call(app)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, command, sys.argv[1:])) from error
    except ValueError as error:
        if not str(error).startswith("Only one of --"):
            raise
        raise UserError(str(error)) from error  # Hydra's own flags
    except OSError as error:
        if began or isinstance(error, BrokenPipeError):
            raise
        # Hydra creates its folder before it calls the function.
        raise UserError(f"paths.outputs: cannot be written ({error})") from error
    finish = getattr(sys.modules.get(f"lmlab.commands.{command}"), "finish", None)
    try:
        if finish is not None:
            finish()
    finally:
        unforeseen = [error for error in failures if not isinstance(error, (UserError, RunFailed, Interrupted))]
        if len(failures) == 1 or unforeseen:
            raise (unforeseen or failures)[0]
        if failures:  # of several jobs of a sweep
            raise UserError("\n".join(dict.fromkeys(map(str, failures))))
    return value


@contextmanager
def _mode_from_words(command: str, words: Sequence[str]) -> Iterator[None]:
    """Prevent Hydra from composing everything once more to read ``hydra.mode``, unless a word or file may set it.

    If ``hydra.mode`` is not set, ``-m`` alone decides whether there is a sweep.
    """
    is_set = "\n  mode: " in (CONF / f"{command}.yaml").read_text()
    may_set = ("hydra.mode", "experiment=", "sweep=", "--config-", "-cd", "-cn")
    read = Hydra.get_mode
    if not (is_set or any(word.lstrip("+").startswith(may_set) for word in words)):
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = read  # type: ignore[method-assign]


def _call(app: Callable[[], Any]) -> None:
    """Call a Hydra app whose jobs or arms may have options that the default configuration lacks.

    Hydra first composes the default configuration with all words that have a single value. A word that it cannot apply
    is therefore rewritten to a choice of one value, which Hydra leaves to the jobs.
    """
    try:
        app()
    except HydraException as error:
        unknown = re.match(r"Could not override '((?!(?:hydra|study|sweep)\.)[^']+\.[^']+)'", str(error))
        index = next((i for i, word in enumerate(sys.argv) if unknown and word.startswith(f"{unknown[1]}=")), None)
        if index is None:
            raise
        typed = sys.argv[index]
        key, _, value = typed.partition("=")
        sys.argv[index] = f"{key}=choice({value})"
        _typed[sys.argv[index]] = typed
        try:
            _call(app)
        except HydraException as other:
            if not str(other).startswith(("Ambiguous value", "Sweep parameters")):
                raise
            sys.argv[index] = typed
            raise error from None  # there is one job, and it lacks the option


def _explained(error: Exception, config: Any) -> Exception:
    """Return the error to show to the user; for an error of the disk, one that names the option or the path."""
    if not isinstance(error, OSError):
        return error
    if error.errno == errno.ENAMETOOLONG and (option := _option_of(config, error.filename)):
        return UserError(f"{option}: {error.strerror}")
    if failure_of_disk(error) is None:
        return error
    return RunFailed(f"{error.filename or config['paths']['outputs']}: {error.strerror}")


def _option_of(config: Any, path: Any) -> str | None:
    """Return ``option=value`` for the option whose value is part of a path; the longest value of several."""
    options = [(key, value) for key, value in leaves(config) if isinstance(value, str) and value and value in str(path)]
    key, value = max(options, key=lambda option: len(option[1]), default=(None, None))
    return None if key is None else f"{key}={value}"


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _in_process() -> bool:
    """Return whether the jobs of a sweep are calls of the command in this process, by Hydra's launcher."""
    hydra = HydraConfig.get()
    ours = str(hydra.launcher.get("_target_")).startswith("hydra_plugins.lmlab")
    return not ours or str(hydra.sweeper.get("_target_")).endswith(".CombinationsSweeper")
