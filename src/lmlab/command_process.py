"""Run a command in a separate process, so that a caller's modules and threads do not affect it.

The process composes, computes and prints like the command line. It sends its result through a pipe as one JSON object:
``{"run": <directory>}``, or ``{"error": <kind>, "message": <text>}``.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmlab.cli import perform, unforeseen
from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.processes.signals import PARENT, end_with_parent
from lmlab.surroundings import drop_empty_variables, read_names_as_utf8, tolerate_encodings

_PROGRAM = "from lmlab.command_process import main; main()"
_KINDS: dict[str, type[BaseException]] = {kind.__name__: kind for kind in (UserError, RunFailed, KeyboardInterrupt)}
_DRAWS = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables that make programs draw as on a terminal when there is none; notebooks set some of them."""


def run_command(command: str, words: Sequence[str]) -> Path:
    """Run ``lmlab <command> <words>``, print its output, and return the directory of the run that it computed.

    Interrupts are forwarded: on the first, the run writes its state and ends; a second one ends it at once. If this
    process dies, the run ends too.

    Raises:
        UserError, KeyboardInterrupt: the command ended with it.
        RunFailed: the run failed, or was stopped by something other than this process.
    """
    receiving, sending = os.pipe()
    environment = {name: value for name, value in os.environ.items() if name not in _DRAWS}
    try:
        # A session of its own: when a terminal or a notebook interrupts all processes, only this process forwards it.
        process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-c", _PROGRAM, str(sending), command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment | {PARENT: str(os.getpid())},
            pass_fds=[sending],
            start_new_session=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except BaseException:
        os.close(receiving)
        raise
    finally:
        os.close(sending)
    with os.fdopen(receiving, encoding="utf-8") as outcome, process:
        _print_until_end(process)
        return _result(outcome.read(), process.returncode, command)


def _print_until_end(process: "subprocess.Popen[str]") -> None:
    """Print the output of a process and forward interrupts to it until it has ended."""
    assert process.stdout is not None
    try:
        while process.returncode is None:
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
    except BaseException:  # printing is impossible, for example because standard output is closed
        process.terminate()
        process.communicate()
        raise


def _result(outcome: str, code: int, command: str) -> Path:
    if not outcome:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise RunFailed(f"the process of lmlab {command} ended: {how}; repeat it to resume from the last checkpoint")
    fields = json.loads(outcome)
    if "error" in fields:
        raise _KINDS[fields["error"]](fields["message"])
    return Path(fields["run"])


def main() -> None:
    """Run the command in ``sys.argv``, which holds the file descriptor of the pipe, the command and its words."""
    read_names_as_utf8()
    tolerate_encodings()
    drop_empty_variables()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT by default
    _, sending, command, *words = sys.argv
    os.set_inheritable(int(sending), False)
    end_with_parent()
    sys.argv = ["lmlab"]
    outcome: dict[str, Any]
    try:
        outcome = {"run": str(perform(command, words).path.absolute())}
    except tuple(_KINDS.values()) as error:
        kind = next(name for name, kind in _KINDS.items() if isinstance(error, kind))
        outcome = {"error": kind, "message": str(error)}
    except Interrupted as error:
        outcome = {"error": RunFailed.__name__, "message": f"{error}; repeat it to resume"}
    except Exception as error:
        outcome = {"error": RunFailed.__name__, "message": unforeseen(error)}
    with os.fdopen(int(sending), "w", encoding="utf-8") as pipe:
        json.dump(outcome, pipe)
