"""What was kept of logs, in files that the next process finds: ``<outputs>/cache/curves/``, to be deleted at any time.

A file is named after the path of the log. It holds a line of JSON, which says of which state of the log it is, and the
columns as 64-bit floats. It is renamed into place, so that readers see all of it or none, whoever else writes
meanwhile; one that a power failure has cut or emptied has another checksum.
"""

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from lmlab.analysis.logged import FORMAT, Logged, Marks


class Stamp(NamedTuple):
    """What tells one state of a file from the next."""

    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


def find(folder: Path, log: Path) -> tuple[Logged, Stamp, bool] | None:
    """What was kept of ``log``, of which state, and whether its last line had no end; ``None``: nothing whole."""
    try:
        head, _, body = _place(folder, log).read_bytes().partition(b"\n")
        found = json.loads(head)
        if found["format"] != FORMAT or found["checksum"] != crc32(body):
            return None
        values = np.frombuffer(body).reshape(1 + len(found["names"]), -1)
        logged = Logged(
            values[0].astype(np.int64),
            dict(zip(found["names"], values[1:], strict=True)),
            found["lines"],
            found["size"],
            bytes.fromhex(found["end"]),
            Marks(**found["marks"] | {"not_finite": {k: (n, s) for k, (n, s) in found["marks"]["not_finite"].items()}}),
        )
        return logged, Stamp(*found["stamp"]), found["cut_short"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def state(folder: Path, log: Path) -> tuple[Stamp, int] | None:
    """Of which state of ``log`` something was kept, and of how many of its bytes, without reading what it is."""
    try:
        with _place(folder, log).open("rb") as file:
            found = json.loads(file.readline())
        return (Stamp(*found["stamp"]), int(found["size"])) if found["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(folder: Path, log: Path, logged: Logged, stamp: Stamp, cut_short: bool) -> None:
    """Write down what is kept of ``log``. Where the folder cannot be written, the next process reads the log again."""
    body = np.stack([logged.numbers.astype(np.float64), *logged.columns.values()]).tobytes()
    head = {
        "format": FORMAT,
        "log": str(log),
        "stamp": stamp,
        "cut_short": cut_short,
        "names": list(logged.columns),
        "lines": logged.lines,
        "size": logged.size,
        "end": logged.end.hex(),
        "marks": asdict(logged.marks),
        "checksum": crc32(body),
    }
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + body)
            Path(temporary).replace(_place(folder, log))
        except BaseException:
            Path(temporary).unlink()
            raise


def _place(folder: Path, log: Path) -> Path:
    return folder / f"{log.parent.name[:100]}-{blake2b(str(log.absolute()).encode(), digest_size=6).hexdigest()}"
