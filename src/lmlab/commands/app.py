"""Every command is a Hydra app with its own primary config; what a user did wrong becomes one clear line."""

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

from lmlab.commands import options
from lmlab.commands.hints import check_words, checked_choices, explain
from lmlab.config import CONF, canonical, check_arguments, leaves
from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.overrides import as_typed
from lmlab.runs.disk import failure_of_disk
from lmlab.runs.places import settle

_typed: dict[str, str] = {}
"""Words that were left to the jobs of a sweep, as Hydra has them and as they were typed."""


def typed_words() -> list[str]:
    """The words of the command line, so that they can be given again."""
    return [_typed.get(word, as_typed(word)) for word in sys.argv[1:]]


def run_app(command: str) -> Any:
    """Compose ``conf/<command>.yaml`` with the overrides in ``sys.argv``, call ``task(**config)`` and return its value.

    ``task`` and, where it exists, ``finish()``, called after the last job, are those of ``lmlab.commands.<command>``.
    The signature of ``task`` is the schema of the command's options.

    Raises:
        UserError: the configuration cannot be composed, or the task refused it.
        RunFailed: a run's own processes failed.
    """
    check_words(command, sys.argv[1:])
    options.use_folder(sys.argv[1:])
    sys.argv[1:] = checked_choices(sys.argv[1:])
    # Hydra then raises instead of printing and exiting.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    failures: list[Exception] = []
    began = False
    value: Any = None

    def task(composed: DictConfig) -> Any:
        # Imported only now, so that --help and --cfg answer at once; errors are kept for afterwards, because Hydra
        # would announce an exception with a line of its own.
        nonlocal began, value
        began = True
        options.say_notes()
        module = importlib.import_module(f"lmlab.commands.{command}")
        config: Any = {}
        try:
            config = canonical(composed)
            settle(Path(config["paths"]["cache"]))
            check_arguments(module.task, config, name=f"lmlab {command}")
            value = module.task(**config)
            return value
        except Exception as error:
            reason = _explained(error, config)
            if _is_sweep() and str(HydraConfig.get().launcher.get("_target_")).startswith("hydra_plugins.lmlab"):
                raise reason from reason.__cause__  # the sweep records what has become of each job
            failures.append(reason)

    app = hydra.main(version_base="1.3", config_path=str(CONF), config_name=command)(task)
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
        # Hydra makes its folder before it calls the task.
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
    """Keep Hydra from composing everything once more to read ``hydra.mode``, unless something may set it.

    Without it, there is a sweep exactly with ``-m``.
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
    """Call a Hydra app; the jobs of a sweep or the arms of a study may have options that the default lacks.

    Hydra first composes the default, with all words that have a single value; a choice of one is left to the jobs.
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
    """Return what a user is to read of an error: of one of the disk, the option or the path that it is about."""
    if not isinstance(error, OSError):
        return error
    if error.errno == errno.ENAMETOOLONG and (option := _option_of(config, error.filename)):
        return UserError(f"{option}: {error.strerror}")
    if failure_of_disk(error) is None:
        return error
    return RunFailed(f"{error.filename or config['paths']['outputs']}: {error.strerror}")


def _option_of(config: Any, path: Any) -> str | None:
    """The option whose value is part of a path, and that value; of several the longest."""
    options = [(key, value) for key, value in leaves(config) if isinstance(value, str) and value and value in str(path)]
    key, value = max(options, key=lambda option: len(option[1]), default=(None, None))
    return None if key is None else f"{key}={value}"


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)
