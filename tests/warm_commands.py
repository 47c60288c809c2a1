"""A process that commands are forked from, and one that their runs are; both have imported the libraries already."""

import atexit
import functools
import importlib
import json
import os
import sys
import threading
import traceback
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

LIBRARIES = ["hydra", "omegaconf", "rich.console", "rich.progress", "safetensors", "tokenizers", "numpy"]
LIBRARIES += ["pytorch_lightning", "torch", "torchmetrics"]


def serve() -> None:
    """Fork a command for each line of the standard input; say its process number, and how it ended."""
    from lmlab.processes.spawn import warm_up

    sys.path[0] = str(Path(__file__).parent)  # a command leaves out the folder that it is in
    warm_up()
    for name in LIBRARIES:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _be(json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _be(asked: dict[str, Any]) -> None:
    """What the forked process does: run a program as if it had been started by itself."""
    from lmlab.processes import spawn

    # It is running, and is no child of this process, which would be asked about.
    forkserver.ensure_running = forkserver._forkserver.ensure_running = lambda: None
    spawn._begin = functools.partial(_begin, asked["said"])
    os.setsid()
    _say_into(asked["said"])
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.path.insert(0, asked["folder"])  # as -m does
    sys.path.append(str(Path(__file__).parent))  # where the processes of a run find this module
    sys.argv = ["lmlab", *asked["arguments"]]
    code = 0
    try:
        exec(asked["program"], {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _begin(said: list[str], *arguments: Any) -> None:
    """What the first process of a run does."""
    from lmlab.processes.spawn import _begin

    _say_into(said)
    _begin(*arguments)


def _say_into(said: list[str]) -> None:
    for number, path in enumerate(said, 1):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
