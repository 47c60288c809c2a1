"""Imported by the server process that runs are forked from: gives it the libraries, and lets it start and end at once.

While libraries are imported there is no garbage to look for, and what is there afterwards stays: neither the server nor
what is forked from it looks at it again.

The server ends when the command that started it does. Python would first take down all libraries one by one, for
seconds in which a processor is busy with nothing.
"""

import atexit
import gc
import importlib
import os

from lmlab.lazy_imports import postpone

gc.disable()
postpone()
for _name in ("lmlab.training.process", "torch.distributed.launcher.api"):
    importlib.import_module(_name)
gc.freeze()
gc.enable()

_server = os.getpid()


@atexit.register
def _end() -> None:
    if os.getpid() == _server:  # the processes forked from it call this too, and have exit codes of their own
        os._exit(0)
