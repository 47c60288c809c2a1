"""``metrics.jsonl`` of a run, read once however often it is asked for, by one process after another, while it grows."""

import os
from pathlib import Path
from typing import IO

from lmlab.analysis import log_cache
from lmlab.analysis.log_cache import Stamp
from lmlab.analysis.logged import Logged

MISSING = "is missing"
WORTH_KEEPING = 200_000
"""Bytes of a file from which on finding it in the cache takes less time than reading it again."""

_BLOCK = 1 << 25
"""Bytes that are read at once."""


class Log:
    """``metrics.jsonl`` of a run, read from where the last reading stopped; a file in its place is read from its start.

    Args:
        path: the file.
        cache: a folder in which what was kept of it is found again by the next process; see :mod:`.log_cache`.
    """

    def __init__(self, path: Path, cache: Path | None = None) -> None:
        self.path = path
        self.cache = cache
        self.logged = Logged()
        self.cut_short = False
        """Whether the last line has no end: it is being written, or its writer was killed."""
        self.trouble: str | None = None
        """Why there is nothing to read."""
        self._stamp: Stamp | None = None

    def read(self) -> bool:
        """Take in what has been logged since the last call; return whether anything is different now.

        A file that is missing or cannot be read is an empty one; :attr:`trouble` says so.
        """
        before = self.logged, self.cut_short, self.trouble
        try:
            self._read()
        except OSError as error:
            self.trouble = MISSING if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            self._stamp, self.cut_short = None, False
            if self.logged.lines:
                self.logged = Logged()
        return self.logged is not before[0] or (self.cut_short, self.trouble) != before[1:]

    def unread(self) -> int:
        """Bytes that :meth:`read` would have to take in, which are in no cache either; 0 where it can take in none."""
        try:
            found = Stamp.of(self.path.stat())
        except OSError:
            return 0
        known, size = self._stamp, self.logged.size
        if known is None and self.cache is not None:
            known, size = log_cache.state(self.cache, self.path) or (None, 0)
        if known == found:
            return 0
        return found.size - size if known is not None and known.inode == found.inode else found.size

    def problems(self, growing: bool = False) -> list[str]:
        """What was wrong with it, a line each.

        Args:
            growing: rows are still to come, so that it may be missing, and its last line may have no end yet.
        """
        marks, name = self.logged.marks, self.path.name
        found = [f"{name} {self.trouble}"] if self.trouble and not (growing and self.trouble == MISSING) else []
        if marks.broken:
            found.append(f"{name}: {marks.broken} lines are no rows and left out (first: line {marks.first_broken})")
        if self.cut_short and not growing:
            found.append(f"{name}: the last line is cut short and left out")
        if marks.repeated:
            found.append(
                f"{name}: {marks.repeated} rows are of steps that it had before (the first is step "
                f"{marks.first_repeated}); the earlier ones count"
            )
        for metric, (count, step) in marks.not_finite.items():
            found.append(f"{metric} is not finite in {count} rows (the first is step {step})")
        return found

    def _read(self) -> None:
        stamp = Stamp.of(self.path.stat())
        if self._stamp is None and self.cache is not None and (found := log_cache.find(self.cache, self.path)):
            self.logged, self._stamp, self.cut_short = found
        if stamp != self._stamp:
            with self.path.open("rb") as file:
                self._read_on(file)
            if self.cache is not None and self._stamp and self.logged.size >= WORTH_KEEPING:
                log_cache.keep(self.cache, self.path, self.logged, self._stamp, self.cut_short)
        self.trouble = None

    def _read_on(self, file: IO[bytes]) -> None:
        stamp = Stamp.of(os.fstat(file.fileno()))
        end = self.logged.end
        file.seek(self.logged.size - len(end))
        if self._stamp is None or stamp.inode != self._stamp.inode or file.read(len(end)) != end:
            self.logged = Logged()
            file.seek(0)
        rest = b""
        while block := file.read(_BLOCK):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                self.logged = self.logged.extended(whole + newline)
        self._stamp, self.cut_short = stamp, bool(rest)
