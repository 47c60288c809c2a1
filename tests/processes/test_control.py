"""Telling one run to stop."""

import os
import subprocess
import sys

import pytest
from synthetic_runs import write_run

from lmlab.errors import UserError
from lmlab.processes.control import tell_to_stop
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run

COMPUTES = """
import os, signal, subprocess, sys, time
from pathlib import Path
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run

os.setpgid(0, 0)
run = Run(Path(sys.argv[1]))
lock = run.try_lock()
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])  # another rank

def told(*_):
    run.update(status="interrupted", other=other.wait(60))
    lock.release()
    sys.exit()

signal.signal(signal.SIGTERM, told)
print("ready", flush=True)
sys.stdin.readline()
Heartbeat("training", 1, 10).write(run)
print("beating", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_all_processes_of_a_run_are_told_and_nobody_else(tmp_path):
    attempt = {"started": "2026-01-01T00:00:00+00:00", "host": "h", "status": "failed"}
    run = write_run(tmp_path / "runs", "data=stdlib", status="running", attempts=[attempt])
    with pytest.raises(UserError, match=r"not running \(status: interrupted\)"):
        tell_to_stop(run)
    stream = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", COMPUTES, str(run.path)], **stream) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(UserError, match="still starting"):
            tell_to_stop(run)
        Heartbeat("training", 1, 10).write(run)  # of an earlier attempt, and of a process that is somebody else's now
        run.update(attempts=[{"started": "2999-01-01T00:00:00+00:00"}])
        with pytest.raises(UserError, match="still starting"):
            tell_to_stop(run)
        run.update(attempts=[attempt])
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "beating\n"
        tell_to_stop(run)
        assert process.wait(100) == 0
    assert Run(run.path).status == "interrupted"
    assert run.manifest["other"] == -15, "the other process of the group was told too"
    assert os.getpid()


def test_a_run_of_another_machine_is_left_alone(tmp_path):
    run = write_run(tmp_path / "runs", "data=stdlib", status="running")
    there = '{"host": "far", "machine": "m", "pid": 1, "began": "", "user": "u", "time": "t"}'
    (run.path / "run.lock").touch()
    (run.path / "owner.1.json").write_text(there)
    with pytest.raises(UserError, match=r"running elsewhere \(pid 1 on far since t\); stop it there"):
        tell_to_stop(run)
