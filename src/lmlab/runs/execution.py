"""Executing a run in processes of its own, which read nothing but the run directory.

One device is one plain Python process; several are started by ``torchrun``, PyTorch's elastic launcher. No process
ever recomposes a configuration, so none can see another job's overrides, environment or leftovers.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from lmlab.errors import RunFailed, UserError
from lmlab.runs.provenance import code_fingerprint
from lmlab.runs.run import Run, now

PARENT = "LMLAB_PARENT"
_WORKER = "lmlab.training.worker"
# A safe path: a user's random.py where they work must not stand before the interpreter's own.
_ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "LOGLEVEL": "CRITICAL",  # torchrun's own: which rank it ended, and how
}


def execute(run: Run, lock: IO[str]) -> dict[str, Any]:
    """Train ``run`` to its end in its own process or processes and return its manifest.

    Args:
        lock: the open lock file of the run, inherited by the process that is started, so that it stays held as long
            as that one lives.

    Raises:
        UserError: the run was refused because of what its configuration asks for.
        RunFailed: a process failed or was killed.
        KeyboardInterrupt: the user stopped it; what was trained so far stays resumable.
    """
    devices = run.config["trainer"]["devices"]
    run.error.unlink(missing_ok=True)
    attempt = {
        "started": now(),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "processes": devices,
        "code": code_fingerprint(run.config),
    }
    run.update(lambda manifest: manifest["attempts"].append(attempt), status="running")
    process = subprocess.Popen(
        _command(run.path, devices),
        env=os.environ | {PARENT: str(os.getpid())} | _ENVIRONMENT,
        pass_fds=[lock.fileno()],
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        _end_attempt(run, "interrupted", "stopped from the keyboard")
        raise
    if code == 0 and run.manifest["status"] == "finished":
        _end_attempt(run, "finished", None)
        return run.manifest
    raise _failure(run, code)


def _command(path: Path, devices: int) -> list[str]:
    if devices == 1:
        return [sys.executable, "-m", _WORKER, str(path)]
    return [
        *(sys.executable, "-m", "lmlab.runs.launch", "--standalone", f"--nproc-per-node={devices}"),
        *("--max-restarts=0", "-m", _WORKER, str(path)),
    ]


def _failure(run: Run, code: int) -> UserError | RunFailed:
    """Record why the attempt ended and return the error to raise."""
    if run.error.exists():
        reason = json.loads(run.error.read_text())
        _end_attempt(run, "failed", reason["message"])
        if reason["kind"] == "UserError":
            return UserError(reason["message"])
        return RunFailed(f"{reason['message']} (details: {run.log})")
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    _end_attempt(run, "failed", f"a process of the run ended: {cause}")
    return RunFailed(f"a process of the run ended: {cause} (details: {run.log})")


def _end_attempt(run: Run, status: str, error: str | None) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["status"] = status
        manifest["attempts"][-1] |= {"ended": now(), "status": status, "error": error}

    run.update(change)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Let a process that was interrupted end by itself; end it if it has not after ten seconds."""
    for signal_to_send in (None, signal.SIGTERM, signal.SIGKILL):
        if signal_to_send is not None:
            process.send_signal(signal_to_send)
        try:
            process.wait(timeout=10)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue


def get_rank() -> int:
    """This process's number among those of the run: 0 for the one that writes what all of them need only once."""
    return int(os.environ.get("RANK", 0))


def end_with_parent() -> None:
    """End this process soon after the one that asked for the run, or the one that started this one, is gone.

    Otherwise an orphan would go on writing into a directory that a repeated command wants to resume.
    """
    parent = int(os.environ.get(PARENT, 0))
    if not parent:
        return
    started_by = os.getppid()

    def watch() -> None:
        while True:
            try:
                os.kill(parent, 0)
            except ProcessLookupError:
                os._exit(143)
            if os.getppid() != started_by:
                os._exit(143)
            time.sleep(0.2)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
