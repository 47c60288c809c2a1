"""Stack traces of a run's ranks when they hung: ``stacks/rank-<rank>.txt``, written by the watchdog."""

import os
import re
import shutil
from pathlib import Path
from typing import IO

from lmlab.runs.run import Run

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)


def clear(run: Run) -> None:
    """Remove the files of an earlier attempt; called before the processes of a new one start."""
    shutil.rmtree(_folder(run), ignore_errors=True)


def open_for(run: Run, rank: int) -> IO[str]:
    """Create an empty file for the stack traces of ``rank``."""
    _folder(run).mkdir(exist_ok=True)
    path = _folder(run) / f"rank-{rank}.txt"
    path.unlink(missing_ok=True)
    return path.open("a")


def drop(file: IO[str]) -> None:
    """Discard stack traces that were written although the rank resumed in the end."""
    if os.fstat(file.fileno()).st_size:
        os.ftruncate(file.fileno(), 0)


def close(file: IO[str]) -> None:
    """Close and remove a file of :func:`open_for` whose rank did not hang."""
    file.close()
    Path(file.name).unlink(missing_ok=True)


def hung(run: Run) -> str | None:
    """Describe which ranks made no progress and the position of each; ``None`` if no watchdog has fired.

    A rank inside torch waits for the others and is not blamed as long as another rank is elsewhere.
    """
    places, waiting, timeout = {}, set(), ""
    for path in sorted(_folder(run).glob("rank-*.txt"), key=lambda path: int(path.stem.removeprefix("rank-"))):
        text = path.read_text(encoding="utf-8", errors="replace")
        if not text:
            continue
        rank = int(path.stem.removeprefix("rank-"))
        timeout = timeout or text.partition("(")[2].partition(")")[0]
        innermost = _FRAME.search(text.rpartition("(most recent call first)")[2])  # the main thread is last
        places[rank] = "" if innermost is None else _place(innermost)
        if innermost is not None and "/torch/" in innermost["file"]:
            waiting.add(rank)
    if not places:
        return None
    blamed = [rank for rank in places if rank not in waiting] or list(places)
    names = f"rank {blamed[0]}" if len(blamed) == 1 else f"ranks {', '.join(map(str, blamed))}"
    where = ", ".join(f"rank {rank} was in {place}" for rank, place in places.items() if place)
    return f"{names} made no progress for {timeout} ({where}; stacks of all threads: {_folder(run)})"


def _place(frame: re.Match[str]) -> str:
    return f"{frame['function']} ({'/'.join(Path(frame['file']).parts[-2:])}:{frame['line']})"


def _folder(run: Run) -> Path:
    return run.path / "stacks"
