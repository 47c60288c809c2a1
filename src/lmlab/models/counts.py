"""A limit for what is built one by one."""

from lmlab.errors import UserError

MOST = 10_000
"""Modules of one kind; each takes time and memory to build, also where its parameters take none."""


def check_count(option: str, value: int) -> None:
    """Refuse more modules than can be built. Raises ``UserError``."""
    if value > MOST:
        raise UserError(f"{option}={value}: expected at most {MOST}")
