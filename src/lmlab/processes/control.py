"""Stop and resume a run from outside the process that supervises it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.runs import lock
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lookup import directory_here
from lmlab.runs.run import Run
from lmlab.surroundings import tolerate_encodings


def tell_to_stop(run: Run) -> None:
    """Signal the processes of ``run`` to write its state and end, as Ctrl-C would; return at once.

    The supervising process notices: ``lmlab train`` ends, a sweep continues with its other runs.

    Raises:
        UserError: the run is not running, runs on another machine, or has only just started.
    """
    owner, manifest = lock.owner(run.path), run.manifest
    if run.status != "running":
        raise UserError(f"{run.path.name}: not running (status: {run.status})")
    if owner is None or not owner.is_here:
        raise UserError(f"{run.path.name}: running elsewhere ({owner or 'another machine'}); stop it there")
    beat = Heartbeat.read(run)
    # The heartbeat of an earlier attempt has a process number that may belong to another process by now.
    if beat is None or beat.time < manifest["attempts"][-1]["started"]:
        raise UserError(f"{run.path.name}: still starting; try again in a moment")
    try:
        os.killpg(os.getpgid(beat.pid), signal.SIGTERM)  # all of its processes share one process group
    except ProcessLookupError:
        raise UserError(f"{run.path.name}: already ending") from None


def start_again(run: Run) -> None:
    """Resume ``run`` from its last checkpoint in a process that outlives this one; return at once.

    Raises:
        UserError: the run is finished or running, or the folder in which it was launched is gone.
    """
    if run.status not in ("failed", "interrupted", "pruned"):
        raise UserError(f"{run.path.name}: is {run.status}; only failed, interrupted or pruned runs can be retried")
    folder = directory_here(run)  # relative paths in the configuration refer to it
    detached([sys.executable, "-P", "-m", "lmlab.processes.control", str(run.path.absolute())], folder, run.log)


def detached(command: list[str], folder: Path, log: Path, **environment: str) -> None:
    """Start a command in ``folder``, independent of this process and its terminal, with its output in ``log``.

    Raises:
        UserError: ``folder`` does not exist.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: the folder in which this was launched is gone")
    # A variable that a command sets for itself must not be inherited.
    surroundings = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=surroundings | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True, name="detached").start()  # leaves no zombie


def main(path: str) -> None:
    """Run the detached process: resume the run at ``path``."""
    from lmlab.processes.signals import INTERRUPTED, stopped_by_signals
    from lmlab.processes.supervisor import execute

    tolerate_encodings()
    run = Run(Path(path))
    try:
        with stopped_by_signals():
            execute(run, lambda owner: print(f"{run.path.name} is being computed by {owner}; waiting for it"))
    except (RunFailed, UserError) as error:
        sys.exit(str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        print(error)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main(sys.argv[1])
