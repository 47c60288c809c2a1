"""Lines and tables that fit the terminal."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_NUMBER = re.compile(r"-?(\d|nan$|inf$)")
PASTED = ("id", "run", "options", "option", "defined in", "begins with")
"""Headings of columns whose cells are values of options, which users paste."""
_WIDE = 160
"""Width of output to a file or another program, in characters."""


def _console(**options: Any) -> Console:
    terminal = Console(highlight=False, **options)
    return (
        terminal
        if terminal.is_terminal or "COLUMNS" in os.environ
        else Console(highlight=False, width=_WIDE, **options)
    )


console = _console()
progress_console = _console(stderr=True)
"""Progress goes to standard error, so that standard output holds results only."""


def say(text: str, head: str = "", style: str = "bold") -> None:
    """Print a line of plain text, after ``head`` in ``style`` (brackets in a message are no markup)."""
    between = " " if head and text and not text.startswith(":") else ""
    console.print(Text.assemble((head, style), between, text), soft_wrap=True)


def warn(text: str, head: str) -> None:
    """Print a warning to standard error, so that standard output stays readable for other programs."""
    progress_console.print(Text.assemble((head, "yellow"), " ", text), soft_wrap=True)


def command(*words: str) -> str:
    """Return the text of a next command, with the ``paths`` options of this one so that it uses the same runs."""
    paths = [word for word in sys.argv[1:] if word.lstrip("+").startswith("paths.")]
    return shlex.join(["lmlab", *words, *paths])


def place(path: Path) -> str:
    """Return a path quoted for a shell."""
    return shlex.quote(str(path))


def print_table(title: str, rows: Sequence[Mapping[str, str]], optional: Sequence[str] = ()) -> None:
    """Print rows of rich markup, without columns that are empty.

    Where the table does not fit, headings are broken into words, and columns named in ``optional`` are left out, from
    the last. Where it does not fit then, long cells are cut, unless they are to be pasted: such a table is wider than
    the terminal.
    """
    if title:
        say("", title)
    headings = [heading for heading in rows[0] if any(row[heading] for row in rows)]
    leave_out = list(optional)
    broken = False
    while True:
        table = _table(rows, headings, broken)
        needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
        if needed <= console.width or (broken and not leave_out):
            _print_uncut(table, needed, [row[heading] for row in rows for heading in headings if heading in PASTED])
            return
        if not broken:
            broken = True
        elif (least := leave_out.pop()) in headings:
            headings.remove(least)


def _table(rows: Sequence[Mapping[str, str]], headings: Sequence[str], broken: bool) -> Table:
    """Return a table of rows; ``broken``: each word of a heading has a line of its own."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for heading in headings:
        numeric = all(_NUMBER.match(row[heading]) for row in rows if row[heading])
        # A unit or a split on a line of its own leaves room for more columns.
        shown = re.sub(r" \(([^()]*)\)", r"\n\1", heading)
        if broken:
            shown = shown.replace(" ", "\n")
        table.add_column(shown, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[heading] for heading in headings))
    return table


def _print_uncut(table: Table, width: int, pasted: Sequence[str]) -> None:
    """Print a table, in its full width if it would otherwise cut a cell that is to be pasted."""
    with console.capture() as capture:
        console.print(table)
    printed = Text.from_ansi(capture.get()).plain
    if all(Text.from_markup(cell).plain in printed for cell in pasted):
        console.print(table)
    else:
        wider = Console(file=console.file, force_terminal=console.is_terminal, highlight=False, width=width)
        wider.print(table)
