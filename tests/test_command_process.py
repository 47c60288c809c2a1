"""A command in a process of its own: its output, its end, and what is left when its caller is disturbed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import wait_until

from lmlab import command_process
from lmlab.command_process import _result, run_command
from lmlab.errors import RunFailed, UserError
from lmlab.runs.run import Run

END = "os.fdopen(int(sys.argv[1]), 'w').write(json.dumps({}))"


@pytest.fixture
def program(monkeypatch):
    """Have another program in the place of the command."""

    def replace(text):
        monkeypatch.setattr(command_process, "_PROGRAM", f"import json, os, signal, sys\n{text}")

    return replace


class Output:
    """A standard output that raises an error when a text is printed."""

    def __init__(self, text, error):
        self.text, self.error, self.printed = text, error, ""

    def write(self, text):
        self.printed += text
        if self.text in text:
            raise self.error

    def flush(self):
        pass


def test_everything_is_printed_in_order_and_the_result_returned(program, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = "print(sys.argv[2:], os.getsid(0) == os.getpid(), 'FORCE_COLOR' in os.environ)"
    program(f"{said}; print('ü', file=sys.stderr); print('last', end=''); {END.format({'run': '/a/run'})}")
    assert run_command("train", ["model=lstm", "seed=1"]) == Path("/a/run")
    assert capsys.readouterr().out == "['train', 'model=lstm', 'seed=1'] True False\nü\nlast"


@pytest.mark.parametrize("kind", [UserError, RunFailed, KeyboardInterrupt])
def test_an_error_is_raised_again_with_its_text(kind):
    with pytest.raises(kind, match=r"^seed=x: no$"):
        _result(json.dumps({"error": kind.__name__, "message": "seed=x: no"}), 0, "train")


def test_a_process_that_says_nothing_has_failed(program):
    program("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RunFailed, match=r"^the process of lmlab train ended: killed by SIGKILL; repeat it to resume"):
        run_command("train", [])
    program("sys.exit(3)")
    with pytest.raises(RunFailed, match=r"^the process of lmlab train ended: exit code 3;"):
        run_command("train", [])


WAITS = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM]); print('ready')\n"
WAITS += "name = signal.Signals(signal.sigwait([signal.SIGINT, signal.SIGTERM])).name; print('told', name)\n"


def test_an_interrupt_is_passed_on_once_and_the_rest_is_still_printed(program, monkeypatch):
    program(WAITS + END.format("{'error': 'KeyboardInterrupt', 'message': name}"))
    output = Output("ready", KeyboardInterrupt())
    monkeypatch.setattr(sys, "stdout", output)
    with pytest.raises(KeyboardInterrupt, match="^SIGINT$"):
        run_command("train", [])
    assert "told SIGINT" in output.printed


def test_a_command_whose_output_goes_nowhere_is_told_to_end(program, monkeypatch, tmp_path):
    program(WAITS + f"open({str(tmp_path / 'end')!r}, 'w').write(name)")
    monkeypatch.setattr(sys, "stdout", Output("ready", BrokenPipeError()))
    with pytest.raises(BrokenPipeError):
        run_command("train", [])
    assert (tmp_path / "end").read_text() == "SIGTERM"


SCRIPT = "import sys, lmlab\nlmlab.train(sys.argv[1:])"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_run_ends_with_its_caller_and_can_go_on(small, tmp_path, sent):
    words = [word for word in small if word != "progress=false"]
    words += ["model=lstm", "logger=[]", "budget.tokens=50_000_000", "validation.times=10_000"]
    caller = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"LMLAB_OUTPUTS": str(tmp_path)},
    )
    assert caller.stdout is not None and caller.stderr is not None
    assert any("validation" in line for line in caller.stdout)
    os.killpg(caller.pid, sent)  # as a terminal and a notebook do
    _, errors = caller.communicate(timeout=60)
    assert caller.returncode == -sent
    assert errors.rstrip().endswith("KeyboardInterrupt") or sent == signal.SIGKILL
    (path,) = (tmp_path / "runs").iterdir()
    wait_until(lambda: not Run(path).is_locked(), "the run is let go", 20)
    assert Run(path).status == "interrupted"
    if sent == signal.SIGINT:
        assert list(Run(path).checkpoints.iterdir()), "it wrote its state"
