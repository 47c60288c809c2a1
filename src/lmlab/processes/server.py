"""Preloaded by the server process from which runs are forked: import libraries, and start and end quickly.

Garbage collection is off during imports, and the imported objects are frozen: neither the server nor the processes
forked from it scan them again.

The server ends with the command that started it, even during imports. It skips Python's own finalization, which
would take seconds of processor time for these libraries.
"""

import atexit
import gc
import importlib
import os
import threading

from lmlab.lazy_imports import postpone
from lmlab.processes import ENTRY, PRELOAD
from lmlab.processes.signals import PARENT

_server, _command = os.getpid(), int(os.environ.get(PARENT, os.getppid()))
_imported = threading.Event()


def _end_with_command() -> None:
    """End the server if the command ends during imports; later, their pipe closes instead."""
    while not _imported.wait(0.05):
        if os.getppid() != _command:
            os._exit(0)


_watcher = threading.Thread(target=_end_with_command, daemon=True)
_watcher.start()
gc.disable()
postpone()
for _name in (ENTRY, "torch.distributed.launcher.api", *os.environ.get(PRELOAD, "").split()):
    importlib.import_module(_name)
gc.freeze()
gc.enable()
_imported.set()
_watcher.join()  # forked processes must not inherit a thread


@atexit.register
def _end() -> None:
    if os.getpid() == _server:  # the processes forked from it call this too, and have exit codes of their own
        os._exit(0)
