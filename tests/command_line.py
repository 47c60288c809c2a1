"""The command line in a process of its own that has the heavy libraries already: forked from one that imported them.

Of lmlab nothing is imported before the fork but what starts runs, and no thread started: what a command sees is what it
sees from a shell. Its runs, too, are forked from a process that is warm already, where a command in a shell warms one
up for itself; tests that disturb a command start it from a shell.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

SERVER = """
import atexit, json, os, sys, threading, traceback
import hydra, omegaconf, rich.console, rich.progress, safetensors, tokenizers
import numpy, pytorch_lightning, torch, torchmetrics
from multiprocessing import forkserver
from lmlab.runs.launch import warm_up

warm_up()

def be(asked):
    # It is running, and is no child of this process, which would be asked about.
    forkserver.ensure_running = forkserver._forkserver.ensure_running = lambda: None
    os.setsid()
    for descriptor, path in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
        os.dup2(os.open(path, os.O_RDWR), descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.path.insert(0, asked["folder"])  # as -m does
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

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        be(json.loads(line))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


LMLAB = "from lmlab.cli import main; main()"


class CommandLine:
    """Runs commands one at a time."""

    def __init__(self) -> None:
        self._server: Any = None
        self._alone = threading.Lock()

    def run(
        self,
        arguments: list[str],
        folder: Path,
        environment: dict[str, str],
        scratch: Path,
        timeout: float = 300,
        program: str = LMLAB,
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``lmlab <arguments>``, or another program; what takes longer than ``timeout`` seconds is killed."""
        said = [scratch / ".out", scratch / ".err"]
        with self._alone:
            if self._server is None:
                server = [sys.executable, "-c", SERVER]
                self._server = subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                assert self._server.stdout.readline() == "ready\n"
            for path in said:
                path.write_text("")
            asked = {"program": program, "arguments": arguments, "environment": environment, "folder": str(folder)}
            print(json.dumps(asked | {"out": str(said[0]), "err": str(said[1])}), file=self._server.stdin, flush=True)
            child = int(self._server.stdout.readline())
            guard = threading.Timer(timeout, os.kill, (child, 9))
            guard.start()
            code = int(self._server.stdout.readline())
            guard.cancel()
        return subprocess.CompletedProcess(["lmlab", *arguments], code, *(path.read_text() for path in said))

    def close(self) -> None:
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait()
