"""Telling one run to stop, from outside of the process that sees it through."""

import os
import signal

from lmlab.errors import UserError
from lmlab.runs import lock
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run


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
