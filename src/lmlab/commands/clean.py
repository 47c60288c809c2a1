"""``lmlab clean``: show what can be freed in the outputs folder, ask, and remove it."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from lmlab.analysis.records import Record
from lmlab.analysis.selection import check_status, fits
from lmlab.cleaning.find import DESCRIPTIONS, KINDS, NOT_OF_RUNS, USUAL, Item, Kept, Kind, Plan, find
from lmlab.cleaning.removal import remove_items
from lmlab.commands import tables
from lmlab.commands.app import typed_words
from lmlab.commands.describe import readable
from lmlab.config import Paths
from lmlab.errors import RunFailed, UserError, nearest
from lmlab.numerals import counted, seconds

SHOWN = 3
"""Names of what is left alone for one reason that are printed."""

_CHOOSING = ("runs", "name", "status", "tag", "where")
"""Options that choose runs."""


def task(
    paths: Paths,
    what: str | list[str] | None,
    yes: bool,
    older: str | None,
    runs: str | list[str] | None,
    name: str | None,
    status: str | None,
    tag: str | None,
    where: dict[str, Any],
) -> None:
    """Print what would be freed and, if that is wanted, remove it.

    Raises:
        UserError: an option has no such value.
        RunFailed: something could not be removed.
    """
    check_status(status)
    selectors = [option for option, value in zip(_CHOOSING, (runs, name, status, tag, where), strict=True) if value]
    kinds = _kinds(what, selectors)
    age = 0.0 if older is None else seconds("older", older)

    def fitting(record: Record) -> bool:
        return fits(record, tag, where, name, status)

    def look() -> Plan:
        return find(paths, kinds, runs, fitting if set(selectors) - {"runs"} else None, age)

    plan = look()
    show(plan, kinds, Path(paths["outputs"]))
    if not plan.items:
        return
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            tables.say(f"Nothing was removed. {_command(*([] if what is None else kinds))} removes all of it.")
            return
        if not _confirmed(f"Free {readable(_bytes(plan.items))}?"):
            tables.say("Nothing was removed.")
            return
        plan = look().within(plan)  # as it is by now
    _remove(plan)


def _confirmed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _kinds(what: str | Sequence[str] | None, selectors: Sequence[str]) -> list[Kind]:
    """Return the kinds that are meant. Raises ``UserError`` for one that there is not, or that does not fit."""
    words = [what] if isinstance(what, str) else [str(word) for word in what or ()]
    for word in words:
        if word not in KINDS:
            raise UserError(f"what={word}: expected {', '.join(KINDS)}{nearest(word, KINDS, listed=0)}")
        if selectors and word in NOT_OF_RUNS:
            raise UserError(f"what={word}: are not of single runs; leave out {selectors[0]}=, or what={word}")
    if "runs" in words and not selectors:
        raise UserError(
            "what=runs: would remove every run; choose some by runs=, name=, status=, tag= or +where.<option>="
        )
    usual = [kind for kind in USUAL if not selectors or kind not in NOT_OF_RUNS]
    return [kind for kind in KINDS if kind in (words or usual)]


def show(plan: Plan, kinds: Sequence[Kind], outputs: Path) -> None:
    """Print a row for each kind, the commands that free them, and what is left alone."""
    rows = []
    for kind in kinds:
        items = [item for item in plan.items if item.kind == kind]
        if items:
            rows.append(
                {
                    "what": kind,
                    "": DESCRIPTIONS[kind],
                    "number": f"{sum(len(item.paths) for item in items):,}",
                    "size": readable(_bytes(items)),
                }
            )
    if rows:
        tables.print_table(f"{readable(_bytes(plan.items))} can be freed in {outputs}", rows, optional=[""])
        for row in rows:  # a table would cut them where the terminal is narrow
            tables.say(_command(cast(Kind, row["what"])), f"{row['what']}:")
    else:
        tables.say(f"Nothing to free in {tables.place(outputs)} (what={','.join(kinds)}).")
    _say_kept(plan.kept)


def _command(*kinds: Kind) -> str:
    """Return the command that frees some kinds, or the usual ones, of the runs that this one chooses."""
    words = [word.lstrip("+") for word in typed_words()]
    choosing = [word for word in words if word.partition("=")[0].partition(".")[0] in (*_CHOOSING, "older", "paths")]
    choosing = [f"+{word}" if word.startswith("where.") else word for word in choosing]
    what = [f"what={','.join(kinds)}"] if kinds else []
    return shlex.join(["lmlab", "clean", *what, *choosing, "yes=true"])


def _say_kept(kept: Sequence[Kept], head: str = "left alone:") -> None:
    """Print a line for each reason, with the names of what it holds for."""
    reasons: dict[str, list[str]] = {}
    for one in kept:
        names = reasons.setdefault(one.why, [])
        if one.name not in names:
            names.append(one.name)
    for why, names in reasons.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        tables.say(f"{', '.join(names[:SHOWN])}{more}: {why}", head, "yellow")


def _remove(plan: Plan) -> None:
    """Remove what was found, and print what that has freed. Raises ``RunFailed`` if something is left."""
    freed: list[Item] = []
    with tables.progress_console.status("Removing"):
        kept = list(remove_items(plan.items, freed.append))
    parts = []
    for kind in KINDS:
        if number := sum(len(item.paths) for item in freed if item.kind == kind):
            parts.append(f"{kind}: {number:,}")
    tables.say(" ".join([readable(_bytes(freed)), f"({', '.join(parts)})" if parts else ""]), "Freed:", "green")
    if kept:
        _say_kept(kept, "not removed:")
        raise RunFailed(f"{counted(len(kept), 'thing')} could not be removed")


def _bytes(items: Sequence[Item]) -> int:
    return sum(item.bytes for item in items)
