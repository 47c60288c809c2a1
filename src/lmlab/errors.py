"""Errors whose messages users read: one clear line each."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from lmlab.config.other_words import VALUES


class UserError(ValueError):
    """Invalid request by the user; the message names the option, its value and the values that are expected."""


class RunFailed(Exception):
    """Failure of a run's own processes; the message gives the reason in one line and the path of the log."""


class Interrupted(Exception):
    """Stop of a run on request, after it has written its state; the message names the cause."""


class Fault(Exception):
    """Fault that resuming from the last checkpoint may remove: a rank hangs, or differs from the others."""


class Restart(Exception):
    """Request to resume a run from its last checkpoint in new processes; the run records what these change."""


class SkipStep(Exception):
    """Request to discard the update of the current optimizer step."""


class CannotGoOn(Exception):
    """Failure of training that a retry would not remove; the message gives the reason and the step."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; without a message, the name of its type."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def within(where: str, error: object) -> str:
    """Return the message of ``error`` with the option ``where`` in front, unless it begins with it already."""
    text = str(error)
    return text if not where or text.startswith((f"{where}:", f"{where}.", f"{where}=")) else f"{where}: {text}"


@contextmanager
def prefixed(where: str) -> Iterator[None]:
    """Add the option ``where`` to the message of a ``UserError`` (see :func:`within`)."""
    try:
        yield
    except UserError as error:
        raise UserError(within(where, error)) from error


@contextmanager
def in_part(name: str, options: Iterable[str]) -> Iterator[None]:
    """Name options of a data set in the message of a ``UserError`` by their place in a mixture.

    ``data.length`` becomes ``data.parts.<name>.length``, with ``+`` where the message gives a value to be typed.
    """
    try:
        yield
    except UserError as error:
        own = rf"(?<![\w./-])data\.(?=(?:{'|'.join(map(re.escape, options))})\b"
        typed = re.sub(rf"(?<!^){own}[\w.]*=)", f"+data.parts.{name}.", str(error))
        raise UserError(re.sub(rf"{own})", f"data.parts.{name}.", typed)) from error


def check_least(least: int, prefix: str = "", /, **options: float | None) -> None:
    """Raise ``UserError`` for the first option below ``least``; options of ``None`` pass. ``prefix``: as ``model.``."""
    for option, value in options.items():
        if value is not None and value < least:
            raise UserError(f"{prefix}{option}={value}: expected at least {least}")


def nearest(value: object, choices: Iterable[str], listed: int = 12) -> str:
    """Return `` (did you mean 'x'?)`` for the choice nearest to ``value``, or all choices if none is near.

    Case, dashes and underscores are ignored; ``value`` itself is never suggested. The text starts with a space, so that
    it can be appended to any message; it is empty if there are no choices.

    Args:
        listed: the largest number of choices that are listed.
    """
    alternatives = sorted({str(choice) for choice in choices} - {str(value)})
    plain = {_plain(choice): choice for choice in alternatives}
    if (other := VALUES.get(str(value).lower())) in alternatives:
        return f" (did you mean '{other}'?)"
    if close := get_close_matches(_plain(str(value)), plain, n=1, cutoff=0.5):
        return f" (did you mean '{plain[close[0]]}'?)"
    return f" (choose one of: {', '.join(alternatives)})" if 0 < len(alternatives) <= listed else ""


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")
