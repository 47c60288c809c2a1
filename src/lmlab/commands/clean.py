"""``lmlab clean``: show what can be freed in the outputs folder, ask, and remove it."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from lmlab.analysis.records import Record
from lmlab.analysis.selection import check_status, fits
from lmlab.commands import tables
from lmlab.commands.app import typed_words
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths
from lmlab.errors import RunFailed, UserError, nearest
from lmlab.numerals import byte_size, counted, seconds
from lmlab.removal import DESCRIPTIONS, KINDS, NOT_OF_RUNS, USUAL, Item, Kept, Kind, Plan, find, remove_items

SHOWN = 3
"""The largest number of names that are printed for one reason."""

_CHOOSING = ("runs", "name", "status", "tag", "where")
"""Options that choose runs."""


def main(
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
    """Print the items that can be removed and, if confirmed, remove them.

    Raises:
        UserError: an option has a wrong value.
        RunFailed: an item could not be removed.
    """
    check_status(status)
    selectors = [option for option, value in zip(_CHOOSING, (runs, name, status, tag, where), strict=True) if value]
    kinds = _kinds(what, selectors)
    folders, age = Folders.of(paths), 0.0 if older is None else seconds("older", older)

    def fitting(record: Record) -> bool:
        return fits(record, tag, where, name, status)

    def look() -> Plan:
        return find(folders, kinds, runs, fitting if set(selectors) - {"runs"} else None, age)

    plan = look()
    show(plan, kinds, folders.outputs)
    if not plan.items:
        return
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            tables.say(f"Nothing was removed. {_command(*([] if what is None else kinds))} removes all of it.")
            return
        if not _confirmed(f"Free {byte_size(_bytes(plan.items))}?"):
            tables.say("Nothing was removed.")
            return
        plan = look().within(plan)  # without items that have changed while the user was asked
    _remove(plan)


def _confirmed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _kinds(what: str | Sequence[str] | None, selectors: Sequence[str]) -> list[Kind]:
    """Return the selected kinds. Raises ``UserError`` for one that does not exist or does not fit the selectors."""
    words = [what] if isinstance(what, str) else [str(word) for word in what or ()]
    for word in words:
        if word not in KINDS:
            raise UserError(f"what={word}: expected {', '.join(KINDS)}{nearest(word, KINDS, listed=0)}")
        if selectors and word in NOT_OF_RUNS:
            raise UserError(f"what={word}: do not belong to single runs; leave out {selectors[0]}=, or what={word}")
    if "runs" in words and not selectors:
        raise UserError(
            "what=runs: would remove every run; choose some by runs=, name=, status=, tag= or +where.<option>="
        )
    usual = [kind for kind in USUAL if not selectors or kind not in NOT_OF_RUNS]
    return [kind for kind in KINDS if kind in (words or usual)]


def show(plan: Plan, kinds: Sequence[Kind], outputs: Path) -> None:
    """Print a row and a command for each kind, and the things that are kept."""
    rows = []
    for kind in kinds:
        items = [item for item in plan.items if item.kind == kind]
        if items:
            rows.append(
                {
                    "what": kind,
                    "": DESCRIPTIONS[kind],
                    "number": f"{sum(len(item.paths) for item in items):,}",
                    "size": byte_size(_bytes(items)),
                }
            )
    if rows:
        tables.print_table(f"{byte_size(_bytes(plan.items))} can be freed in {outputs}", rows, optional=[""])
        for row in rows:  # in a narrow terminal, a table would truncate the commands
            tables.say(_command(cast(Kind, row["what"])), f"{row['what']}:")
    else:
        tables.say(f"Nothing to free in {tables.place(outputs)} (what={','.join(kinds)}).")
    _say_kept(plan.kept)


def _command(*kinds: Kind) -> str:
    """Return the command that removes some kinds, or the usual ones, with the selection of runs of this command."""
    words = [word.lstrip("+") for word in typed_words()]
    choosing = [word for word in words if word.partition("=")[0].partition(".")[0] in (*_CHOOSING, "older", "paths")]
    choosing = [f"+{word}" if word.startswith("where.") else word for word in choosing]
    what = [f"what={','.join(kinds)}"] if kinds else []
    return shlex.join(["lmlab", "clean", *what, *choosing, "yes=true"])


def _say_kept(kept: Sequence[Kept], head: str = "left alone:") -> None:
    """Print a line for each reason, with the names of the things that are kept."""
    reasons: dict[str, list[str]] = {}
    for one in kept:
        names = reasons.setdefault(one.why, [])
        if one.name not in names:
            names.append(one.name)
    for why, names in reasons.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        tables.say(f"{', '.join(names[:SHOWN])}{more}: {why}", head, "yellow")


def _remove(plan: Plan) -> None:
    """Remove the items of a plan, and print the freed size. Raises ``RunFailed`` if an item could not be removed."""
    freed: list[Item] = []
    with tables.progress_console.status("Removing"):
        kept = list(remove_items(plan.items, freed.append))
    parts = []
    for kind in KINDS:
        if number := sum(len(item.paths) for item in freed if item.kind == kind):
            parts.append(f"{kind}: {number:,}")
    tables.say(" ".join([byte_size(_bytes(freed)), f"({', '.join(parts)})" if parts else ""]), "Freed:", "green")
    if kept:
        _say_kept(kept, "not removed:")
        raise RunFailed(f"{counted(len(kept), 'thing')} could not be removed")


def _bytes(items: Sequence[Item]) -> int:
    return sum(item.bytes for item in items)
