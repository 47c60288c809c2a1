"""The errors a user meets: one clear line each."""

from collections.abc import Iterable
from difflib import get_close_matches


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


def nearest(value: object, choices: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the choice nearest to ``value``, or all choices if none is near.

    More than a dozen choices are not listed.

    The text starts with a space, so that it can be appended to any message; it is empty when there are no choices.
    """
    known = sorted(set(choices))
    close = get_close_matches(str(value), known, n=1, cutoff=0.5)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (choose one of: {', '.join(known)})" if 0 < len(known) <= 12 else ""
