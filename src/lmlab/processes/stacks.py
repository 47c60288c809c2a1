"""Where the ranks of a run were when they hung: ``stacks/rank-<rank>.txt``, written by the watchdog."""

import os
import re
import shutil
from pathlib import Path
from typing import IO

from lmlab.runs.run import Run

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)


def clear(run: Run) -> None:
    """Remove what an earlier attempt left; called before the processes of a new one start."""
    shutil.rmtree(_folder(run), ignore_errors=True)


def open_for(run: Run, rank: int) -> IO[str]:
    """An empty file for the stacks of ``rank``."""
    _folder(run).mkdir(exist_ok=True)
    path = _folder(run) / f"rank-{rank}.txt"
    path.unlink(missing_ok=True)
    return path.open("a")


def drop(file: IO[str]) -> None:
    """Forget stacks that were written although the rank went on in the end."""
    if os.fstat(file.fileno()).st_size:
        os.ftruncate(file.fileno(), 0)


def close(file: IO[str]) -> None:
    """Close and remove a file of :func:`open_for` whose rank did not hang."""
    file.close()
    Path(file.name).unlink(missing_ok=True)


def hung(run: Run) -> str | None:
    """Say which ranks made no progress and where each of them was; ``None`` if no rank's watchdog has fired.

    A rank inside torch, where it waits for the others, is not blamed as long as another one is elsewhere.
    """
    places, waiting, timeout = {}, set(), ""
    for path in sorted(_folder(run).glob("rank-*.txt"), key=lambda path: int(path.stem.removeprefix("rank-"))):
        text = path.read_text(encoding="utf-8", errors="replace")
        if not text:
            continue
        rank = int(path.stem.removeprefix("rank-"))
        timeout = timeout or text.partition("(")[2].partition(")")[0]
        innermost = _FRAME.search(text.rpartition("(most recent call first)")[2])  # the main thread comes last
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
