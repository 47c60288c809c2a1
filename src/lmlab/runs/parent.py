"""The process that asked for a run, as the run's own processes know it: none of them outlives it."""

import os
import threading
import time

PARENT = "LMLAB_PARENT"
"""The environment variable that holds its number."""


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
