"""``lmlab <command>``: find the command and run its Hydra app. This module imports nothing heavy."""

import gc
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from lmlab.config.sources import about
from lmlab.errors import Interrupted, RunFailed, UserError, nearest
from lmlab.lazy_imports import postpone
from lmlab.processes.signals import INTERRUPTED
from lmlab.surroundings import drop_empty_variables, expanded, read_names_as_utf8, tolerate_encodings

COMMANDS = {
    "train": "train a model, or many with -m, and print the results side by side",
    "study": "tune and compare the arms of an experiment's study over several seeds, and report",
    "evaluate": "score a run's model on a split, every token once",
    "generate": "continue a prompt with a run's model",
    "chat": "talk with a run's model in the terminal",
    "reproduce": "compute a run again from its saved configuration and compare the results",
    "runs": "list the runs in the outputs folder",
    "clean": "free disk: old checkpoints, W&B files, caches, failed runs or any runs",
    "report": "draw a conclusion from runs, with its interval, its doubts and the data behind it",
    "sweep": "show the status of a sweep's jobs; resume it, retry failed jobs, cancel it",
    "dashboard": "show runs and sweeps live in a browser; stop, retry and compare them",
    "wandb": "sync: send missing data to Weights & Biases; workspace: make pages of a sweep's runs there",
    "data": "list: data sets, and what is prepared; prepare: tokenise one; inspect: its documents and tokens",
    "describe": "show a model's blocks, parameters, state, operations and memory, without training it",
    "plan": "estimate memory, time and cost of a run on other devices, without training",
    "options": "list all options, one per line, and where they are defined",
}

_WITH_ACTION = ("data", "sweep", "wandb")
"""Commands whose first word is an action."""

_TRAINING = ("train", "study")
"""Commands that usually start a run."""

_SHOWS = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "--version", "-sc", "--shell-completion")
"""Flags of Hydra that show something instead of running the command."""

_TAKES_FOLDER = ("--config-dir", "-cd")
"""Flags of Hydra with a value that is a path."""


def main() -> None:
    """Entry point of the ``lmlab`` program and of ``python -m lmlab``."""
    read_names_as_utf8()
    tolerate_encodings()
    drop_empty_variables()
    if any(argument.startswith("query=") for argument in sys.argv):
        _complete()
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _overview()
        return
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"lmlab {version('lmlab')}")
        return
    command = arguments[0] if not arguments[0].startswith("-") else "train"
    if command not in COMMANDS:
        sys.exit(f"lmlab: there is no command '{command}'{nearest(command, COMMANDS)}")
    trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        perform(command, arguments[command == arguments[0] :])
    except (UserError, RunFailed) as error:
        if trace:
            raise
        from lmlab.config.overrides import as_typed

        sys.exit(f"lmlab {command}: {as_typed(str(error))}")
    except BrokenPipeError:  # the reader of the output has closed it, like head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Interrupted as error:
        print(f"lmlab {command}: {error}; repeat the command to resume", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt as error:
        if not str(error):
            sys.exit(130)
        print(f"lmlab {command}: {error}; repeat the command to resume", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if trace:
            raise
        sys.exit(f"lmlab {command}: {unforeseen(error)}")
    finally:
        # The interpreter collects garbage several times while it exits; with torch, that takes a fifth of a second.
        gc.freeze()


def perform(command: str, words: list[str]) -> Any:
    """Run a command in this process and return the value of its last job. The process must do nothing else."""
    if command == "options":
        from lmlab.commands import list_options

        return list_options.main(words)
    # lmlab.config.sources imports a user's own modules. Nothing else is imported from the working folder, in this
    # process or in its children: the helper processes of multiprocessing import standard modules by name.
    sys.path[:] = [place for place in sys.path if place not in ("", str(Path.cwd()))]
    os.environ["PYTHONSAFEPATH"] = "1"
    # Importing torch and composing a configuration create many objects that stay alive. With Python's default
    # thresholds, collecting garbage among them takes a tenth of the time of a short command.
    gc.set_threshold(50_000, 20, 20)
    if command in _TRAINING and not any(map(only_shows, words)):
        from lmlab.processes.spawn import warm_up

        warm_up(_may_use_wandb(words))  # runs on another core while the configuration is composed
    from lmlab.commands.app import run_app

    postpone()
    sys.argv[1:] = _read(command, _with_action(command, words))
    return run_app(command)


def _may_use_wandb(words: list[str]) -> bool:
    """Return whether the runs of a command may log to W&B: they do by default, unless ``words`` name other loggers."""
    loggers = [word for word in words if word.startswith("logger=")]
    return not loggers or "wandb" in loggers[-1]


def unforeseen(error: Exception) -> str:
    """Describe an unexpected error in one line, and write its traceback to a file that the line names."""
    import tempfile
    import traceback

    line = next(iter(str(error).splitlines()), "")
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        line = f"{name}{error.strerror}"
    elif not isinstance(error, (OSError, ValueError, RuntimeError)) or not line:
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    line += about(error)
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="lmlab-error-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write(f"{sys.argv}\n")
            traceback.print_exception(error, file=log)
    except OSError:
        return f"{line} (HYDRA_FULL_ERROR=1 shows the traceback)"
    return f"{line} (details: {log.name})"


def _read(command: str, words: list[str]) -> list[str]:
    """Return the words of a command line for Hydra: flags first, then overrides in its grammar.

    Raises:
        UserError: a word is not valid UTF-8, or cannot be parsed.
    """
    from lmlab.config.overrides import of_study, read

    words = _with_folders(words)
    for word in words:
        if not word.isprintable() and any("\ud800" <= char <= "\udfff" for char in word):
            shown = word.encode("utf-8", "backslashreplace").decode()
            raise UserError(f"{shown}: is not valid UTF-8")
    flags = [word for word in words if not _is_override(word)]
    # lmlab study varies the options in its section study, so a comma on its command line separates no values.
    several = command != "study" and any(map(asks_for_several, words))
    overrides = [read(word, several) for word in words if _is_override(word)]
    if command in ("runs", "report", "clean"):  # where.<option> may name any option of a run
        overrides = [f"++{word}" if word.startswith("where.") else word for word in overrides]
    if command == "study" and any(word.startswith("experiment=") for word in overrides):
        overrides = [of_study(word) for word in overrides]
    return flags + overrides


def only_shows(word: str) -> bool:
    """Return whether a word of a command line makes Hydra show something instead of running the command."""
    return word.partition("=")[0] in _SHOWS


def asks_for_several(word: str) -> bool:
    """Return whether a word of a command line asks for a sweep."""
    return bool(re.fullmatch(r"-m|--multirun|sweep=(?!null).+|hydra\.mode=MULTIRUN", word))


def _with_folders(words: list[str]) -> list[str]:
    """Join flags that take a folder with their folders, and expand ``~`` in these."""
    joined: list[str] = []
    for word in words:
        flag, equals, folder = word.partition("=")
        if joined and joined[-1] in _TAKES_FOLDER:
            joined[-1] = f"{joined[-1]}={expanded(word)}"
        else:
            joined.append(f"{flag}={expanded(folder)}" if equals and flag in _TAKES_FOLDER else word)
    return joined


def _with_action(command: str, words: list[str]) -> list[str]:
    """Return the words with a bare first word as an action: ``lmlab wandb sync`` means ``action=sync``."""
    if command in _WITH_ACTION and words and re.fullmatch(r"[a-z]\w*", words[0]):
        return [f"action={words[0]}", *words[1:]]
    return words


def _is_override(word: str) -> bool:
    return word[:1] in ("+", "~") or ("=" in word and word[0] != "-")


def _overview() -> None:
    width = max(map(len, COMMANDS))
    print("lmlab: which language-model architecture is better here, and how sure are we?\n")
    print("usage: lmlab <command> [option=value ...] [-m]\n")
    for name, what in COMMANDS.items():
        print(f"  {name:<{width}}  {what}")
    print("\nlmlab <command> --help lists a command's options; --cfg job prints what they compose to.")
    print('Shell completion: eval "$(lmlab -sc install=bash)"  (or install=zsh, install=fish)')


def _complete() -> None:
    """Answer a completion query. Hydra completes a single app, so the command is removed from the line first."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) < 3 or words[1] not in COMMANDS:
        print(" ".join(COMMANDS))
        sys.exit(0)
    if words[1] == "options":
        from lmlab.commands.list_options import completions

        print(" ".join(completions(words[-1])))
        sys.exit(0)
    sys.argv.insert(1, words[1])
    os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
