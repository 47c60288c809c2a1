"""Names of runs: labels that users give, and the first part of a directory's name."""

import re

from lmlab.errors import UserError

LONGEST = 100
"""Maximum length in bytes; file systems allow 255 for a directory's name with the id, and for temporary names."""

_ALLOWED = re.compile(r"\w[\w.+=@-]*")


def check_name(name: str) -> str:
    """Return ``name`` if it is valid as part of a directory's name.

    Raises:
        UserError: the name is empty, too long, or has characters with a special meaning in paths or shells.
    """
    if not name:
        raise UserError("name= has no value: give a name, or omit it to use that of the model and the data")
    if len(name.encode()) > LONGEST:
        raise UserError(f"name={name[:20]}...: {len(name.encode())} bytes long, expected at most {LONGEST}")
    if not _ALLOWED.fullmatch(name):
        suggestion = as_name(name)
        hint = f" (did you mean '{suggestion}'?)" if suggestion else ""
        raise UserError(f"name={name!r}: expected letters, digits and - _ . + = @, a letter or digit first{hint}")
    return name


def as_name(text: str) -> str:
    """Return ``text`` with a dash in place of characters that names cannot have."""
    cut = re.sub(r"[^\w.+=@-]+", "-", text).strip("-.+=@").encode()[:LONGEST]
    return cut.decode(errors="ignore")
