"""``lmlab <command>``: finds the command and hands over to its Hydra app. Imports nothing heavy."""

import os
import re
import signal
import sys
from pathlib import Path

from lmlab.errors import Interrupted, RunFailed, UserError, nearest
from lmlab.runs.signals import INTERRUPTED

COMMANDS = {
    "train": "train a model, or many with -m, and print the results side by side",
    "study": "tune and compare the arms of an experiment's study over several seeds, and report",
    "evaluate": "score a run's model on a split, every token once",
    "generate": "continue a prompt with a run's model",
    "reproduce": "compute a run afresh from what it left behind and compare",
    "runs": "list the runs in the outputs folder",
    "report": "from runs to a conclusion, with its interval, its doubts and everything that it rests on",
    "sweep": "what has become of a sweep's jobs; go on with it, retry what failed, cancel it",
    "dashboard": "runs and sweeps, live in a browser; stop, retry and compare them",
    "wandb": "sync: send to Weights & Biases what it lacks; workspace: pages there of a sweep's runs",
    "describe": "show a model's blocks, parameters, state, operations and memory, without training it",
    "plan": "say what a run takes on other devices: memory, time and cost, without training",
}

TEXTS = ("prompt", "callbacks.samples.prompt")
"""Options whose values are text, whatever characters are in it."""


def main() -> None:
    """Entry point of the ``lmlab`` program and of ``python -m lmlab``."""
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
    if command == arguments[0]:
        del sys.argv[1]
    from lmlab.commands.app import run_app

    # A user's own modules are found by lmlab.sources; nothing else is imported from where they work.
    sys.path[:] = [place for place in sys.path if place not in ("", str(Path.cwd()))]
    # Hydra's parser wants its flags in one place; people write them anywhere.
    words = [_quoted(word) for word in _with_action(sys.argv[1:])]
    sys.argv[1:] = [word for word in words if not _is_override(word)] + [word for word in words if _is_override(word)]
    trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        run_app(command)
    except (UserError, RunFailed) as error:
        if trace:
            raise
        sys.exit(f"lmlab {command}: {error}")
    except BrokenPipeError:  # whoever read the output has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Interrupted as error:
        print(f"lmlab {command}: {error}; the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt as error:
        if not str(error):
            sys.exit(130)
        print(f"lmlab {command}: {error}; the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _with_action(words: list[str]) -> list[str]:
    """A bare word right after the command, as in ``lmlab wandb sync``, says what to do: it is ``action=sync``."""
    if words and re.fullmatch(r"[a-z]\w*", words[0]):
        return [f"action={words[0]}", *words[1:]]
    return words


def _is_override(word: str) -> bool:
    return word[:1] in ("+", "~") or ("=" in word and word[0] != "-")


def _quoted(word: str) -> str:
    """A text option's value in quotes: what a user means by prompt="a, b" is no list to choose from."""
    key, _, value = word.partition("=")
    if key == "runs" and value and value[0] not in "['\"" and value != "null":  # a list, as one would say it
        return "runs=[" + ",".join(f"'{part}'" for part in value.split(",")) + "]"
    if key == "run":  # an id of digits only, or like 12e5, is no number
        return "run=" + ",".join(f"'{part}'" if re.fullmatch(r"\d[\w-]*", part) else part for part in value.split(","))
    if key.lstrip("+") not in TEXTS or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return word
    # A backslash stands for itself but before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def _overview() -> None:
    width = max(map(len, COMMANDS))
    print("lmlab: which language-model architecture is better here, and how sure are we?\n")
    print("usage: lmlab <command> [option=value ...] [-m]\n")
    for name, what in COMMANDS.items():
        print(f"  {name:<{width}}  {what}")
    print("\nlmlab <command> --help lists a command's options; --cfg job prints what they compose to.")
    print('Shell completion: eval "$(lmlab -sc install=bash)"  (or install=zsh, install=fish)')


def _complete() -> None:
    """Answer a completion query: Hydra knows one app, so take the command out of the line and ask that command's."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) < 3 or words[1] not in COMMANDS:
        print(" ".join(COMMANDS))
        sys.exit(0)
    sys.argv.insert(1, words[1])
    os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
