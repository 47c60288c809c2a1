"""Names of runs: a label that people choose and the first part of a directory's name."""

import re

from lmlab.errors import UserError

LONGEST = 100
"""Bytes; a file system allows 255 for a directory's name with the id, and for temporary names beside it."""

_ALLOWED = re.compile(r"\w[\w.+=@-]*")


def check_name(name: str) -> str:
    """Return ``name`` if a directory can be called by it.

    Raises:
        UserError: it is empty, too long, or has characters that mean something else in a path or to a shell.
    """
    if not name:
        raise UserError("name= has no value: give a name, or leave it out for that of the model and the data")
    if len(name.encode()) > LONGEST:
        raise UserError(f"name={name[:20]}...: {len(name.encode())} bytes long, expected at most {LONGEST}")
    if not _ALLOWED.fullmatch(name):
        suggestion = as_name(name)
        hint = f" (did you mean '{suggestion}'?)" if suggestion else ""
        raise UserError(f"name={name!r}: expected letters, digits and - _ . + = @, a letter or digit first{hint}")
    return name


def as_name(text: str) -> str:
    """Return ``text`` with a dash for whatever a name cannot have."""
    cut = re.sub(r"[^\w.+=@-]+", "-", text).strip("-.+=@").encode()[:LONGEST]
    return cut.decode(errors="ignore")
