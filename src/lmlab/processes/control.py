"""Stop and resume a run from outside of the process that supervises it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.runs import lock
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.moved import directory_here
from lmlab.runs.run import Run
from lmlab.surroundings import tolerate_encodings


def tell_to_stop(run: Run) -> None:
    """Tell the processes of ``run`` to write its state and end, as Ctrl-C would; returns at once.

    Whoever sees it through takes note: ``lmlab train`` ends, a sweep goes on with its other runs.

    Raises:
        UserError: nobody is computing it, or on another machine, or it has only just begun.
    """
    owner, manifest = lock.owner(run.path), run.manifest
    if run.status != "running":
        raise UserError(f"{run.path.name}: nobody is computing it, it is {run.status}")
    if owner is None or not owner.is_here:
        raise UserError(f"{run.path.name}: is computed by {owner or 'another machine'}; stop it there")
    beat = Heartbeat.read(run)
    # The sign of life of an earlier attempt names a process that may be anybody's by now.
    if beat is None or beat.time < manifest["attempts"][-1]["started"]:
        raise UserError(f"{run.path.name}: is only starting; try again in a moment")
    try:
        os.killpg(os.getpgid(beat.pid), signal.SIGTERM)  # all of its processes are of one group
    except ProcessLookupError:
        raise UserError(f"{run.path.name}: is ending already") from None


def start_again(run: Run) -> None:
    """Start a process that goes on with ``run`` from its last checkpoint and outlives this one; returns at once.

    Raises:
        UserError: it is finished or being computed, or the folder that it was asked for in is gone.
    """
    if run.status not in ("failed", "interrupted", "pruned"):
        raise UserError(f"{run.path.name}: is {run.status}; only a failed, interrupted or pruned run is tried again")
    folder = directory_here(run)  # its relative paths mean files below it
    detached([sys.executable, "-P", "-m", "lmlab.processes.control", str(run.path.absolute())], folder, run.log)


def detached(command: list[str], folder: Path, log: Path, **environment: str) -> None:
    """Start a command in ``folder`` that no terminal and no end of this process disturbs; what it says goes to ``log``.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is gone; what is to be tried again was asked for there")
    # What a command sets for itself is not for the next.
    surroundings = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    with log.open("ab") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=surroundings | environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True, name="detached").start()  # or it stays in the list of processes


def main(path: str) -> None:
    """Be that process."""
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
