"""The commands of README.md and docs/, from blocks of code and from the prose."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
NAMES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`((?:lmlab|make) [a-z][^`]*)`")


class Documented(NamedTuple):
    """A command of a page.

    Attributes:
        line: the command as it is shown, without a comment.
        shown: the lines of output below it, "" if there are none.
    """

    page: str
    line: str
    shown: str = ""

    @property
    def words(self) -> list[str]:
        """The words after ``lmlab`` or ``make``, without a redirection of the output."""
        return shlex.split(self.line.partition(" > ")[0])[1:]

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def documented(page: str) -> list[Documented]:
    """Return the commands of a page in their order."""
    text, places = PAGES[page], dict[int, list[Documented]]()
    for block in _BLOCK.finditer(text):
        places[block.start()] = list(
            _of_console(page, block[2]) if block[1] == "console" else _of_block(page, block[2])
        )
    prose = _BLOCK.sub(lambda block: " " * len(block[0]), text)
    for span in _SPAN.finditer(prose):
        places[span.start()] = [Documented(page, " ".join(span[1].split()))]
    return [command for _, commands in sorted(places.items()) for command in commands]


def _of_console(page: str, block: str):
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield Documented(page, _without_comment(line), shown)


def _of_block(page: str, block: str):
    for line in block.replace("\\\n", " ").splitlines():
        if re.match(r"(lmlab|make) ", line):
            yield Documented(page, _without_comment(line))


def _without_comment(line: str) -> str:
    return " ".join(re.split(r"\s#\s", line)[0].split())


def pattern(line: str) -> str:
    """Return a regular expression for a shown line of output, with any numbers and ids of runs in place of its own."""
    number = r"\b[0-9a-f]{6,10}\b|[\d.,]*\d"
    return f"({number})".join(map(re.escape, re.split(number, " ".join(line.split()))))


def missing(shown: str, printed: str) -> list[str]:
    """Return the shown lines that a command has not printed, up to numbers; "..." stands for any lines."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    expected = [line for line in shown.splitlines() if line.strip() not in ("", "...")]
    return [line for line in expected if not any(re.fullmatch(pattern(line), one) for one in lines)]
