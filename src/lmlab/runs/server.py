"""Imported first by the server process that runs are forked from: lets it start and end at once.

It ends when the command that started it does. Python would first take down all libraries one by one, for seconds in
which a processor is busy with nothing.
"""

import atexit
import os

from lmlab.lazy_imports import postpone

postpone()

_server = os.getpid()


@atexit.register
def _end() -> None:
    if os.getpid() == _server:  # the processes forked from it call this too, and have exit codes of their own
        os._exit(0)
