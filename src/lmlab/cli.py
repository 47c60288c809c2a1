"""``lmlab <command>``: finds the command and hands over to its Hydra app. Imports nothing heavy."""

import os
import re
import sys
from pathlib import Path

from lmlab.errors import RunFailed, UserError, nearest

COMMANDS = {
    "train": "train a model, or many with -m, and print the results side by side",
    "evaluate": "score a run's model on a split, every token once",
    "generate": "continue a prompt with a run's model",
    "reproduce": "compute a run afresh from what it left behind and compare",
    "runs": "list the runs in the outputs folder",
    "describe": "show a model's blocks, parameters, state, operations and memory, without training it",
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

    # A user's own modules lie where they work; behind everything else, so that they can shadow nothing.
    sys.path.append(str(Path.cwd()))
    # Hydra's parser wants its flags in one place; people write them anywhere.
    words = [_quoted(word) for word in sys.argv[1:]]
    sys.argv[1:] = [word for word in words if not _is_override(word)] + [word for word in words if _is_override(word)]
    trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        run_app(command)
    except (UserError, RunFailed) as error:
        if trace:
            raise
        sys.exit(f"lmlab {command}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _is_override(word: str) -> bool:
    return word[:1] in ("+", "~") or ("=" in word and word[0] != "-")


def _quoted(word: str) -> str:
    """A text option's value in quotes: what a user means by prompt="a, b" is no list to choose from."""
    key, _, value = word.partition("=")
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
