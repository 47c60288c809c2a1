"""Imported by the server process that runs are forked from: gives it the libraries, and lets it start and end at once.

While libraries are imported there is no garbage to look for, and what is there afterwards stays: neither the server nor
what is forked from it looks at it again.

The server ends when the command that started it does, even while it imports. Python would first take down all libraries
one by one, for seconds in which a processor is busy with nothing.
"""

import atexit
import gc
import importlib
import os
import threading

from lmlab.lazy_imports import postpone
from lmlab.processes import ENTRY
from lmlab.processes.signals import PARENT

_server, _command = os.getpid(), int(os.environ.get(PARENT, os.getppid()))
_imported = threading.Event()


def _end_with_command() -> None:
    """End the server if the command ends while libraries are imported; later, the closing of their pipe tells it."""
    while not _imported.wait(0.05):
        if os.getppid() != _command:
            os._exit(0)


_watcher = threading.Thread(target=_end_with_command, daemon=True)
_watcher.start()
gc.disable()
postpone()
for _name in (ENTRY, "torch.distributed.launcher.api"):
    importlib.import_module(_name)
gc.freeze()
gc.enable()
_imported.set()
_watcher.join()  # what is forked from here is to have no thread


@atexit.register
def _end() -> None:
    if os.getpid() == _server:  # the processes forked from it call this too, and have exit codes of their own
        os._exit(0)
