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
                server = [sys.executable, "-c", "from warm_commands import serve; serve()"]
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
                self._server = subprocess.Popen(server, cwd=Path(__file__).parent, text=True, **pipes)
                assert self._server.stdout.readline() == "ready\n"
            for path in said:
                path.write_text("")
            asked = {"program": program, "arguments": arguments, "environment": environment, "folder": str(folder)}
            asked["said"] = [str(path) for path in said]
            print(json.dumps(asked), file=self._server.stdin, flush=True)
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
