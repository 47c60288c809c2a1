"""The errors a user meets: one clear line each."""

from collections.abc import Iterable
from difflib import get_close_matches

from lmlab.other_words import VALUES


class UserError(ValueError):
    """What was asked for cannot be done; the message names the option, its value and what would have been right."""


class RunFailed(Exception):
    """A run's own processes ended without finishing it; the message says why in one line and where the log is."""


class Interrupted(Exception):
    """A run was told to stop and has left its state behind, to go on from; the message says by what."""


class Fault(Exception):
    """Something that going on from the last checkpoint may cure: a rank that hangs, or differs from the others."""


class Restart(Exception):
    """A run is to go on from its last checkpoint in new processes; what they do differently is recorded with it."""


class SkipStep(Exception):
    """The update of the optimizer step under way is not to be applied."""


class CannotGoOn(Exception):
    """A run's training went wrong in a way that trying again does not cure; the message says how, at which step."""


def within(where: str, error: object) -> str:
    """Return a message that begins with the option where ``error`` comes from, once."""
    text = str(error)
    return text if not where or text.startswith((f"{where}:", f"{where}.", f"{where}=")) else f"{where}: {text}"


def nearest(value: object, choices: Iterable[str], listed: int = 12) -> str:
    """Return `` (did you mean 'x'?)`` for the choice nearest to ``value``, or all choices if none is near.

    Case, dashes and underscores do not count; ``value`` itself is never offered.

    The text starts with a space, so that it can be appended to any message; it is empty when there are no choices.

    Args:
        listed: more choices than so many are not listed.
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
