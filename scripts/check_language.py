"""Refuse words and openings of sentences that make the prose of this project hard to read.

    python scripts/check_language.py [files or folders ...]

Docstrings begin with an imperative verb or a noun phrase, and variables are named after the thing that they hold.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("src", "scripts", "conf", "docs", "README.md", "CONTRIBUTING.md")

OPENINGS = frozenset({"What", "Whether", "How", "Where", "Which", "Who", "Whoever", "Whatever", "Why"})
"""First words of docstrings that begin a clause without a subject."""

WORDS = {
    "afresh": "again, from the beginning",
    "anew": "again",
    "is at it": "is running, computing",
    "laboratory": "framework",
    "nobody": "no process, no user",
    "of which": "two sentences",
    "somebody": "another process, a user",
    "whatever": "anything that, all, any",
    "whoever": "a caller, a reader",
}
"""Words and what to write in their place."""

NAMES = frozenset({"asked", "chosen", "found", "given", "known", "made", "told", "wanted"})
"""Names that say what happened to a thing and not what it is."""

_WORDS = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)


def problems(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and a description of each problem of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from in_prose(text.splitlines())
        return
    tree = ast.parse(text)
    fields = {
        part.target
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        for line, docstring in docstrings(node):
            yield from in_docstring(line, docstring)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in NAMES and node not in fields:
            yield node.lineno, f"variable {node.id}: name it after the thing"
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            for line, problem in in_prose(token.string.splitlines()):
                yield token.start[0] + line - 1, problem


def in_prose(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield problems of lines of text, counted from 1."""
    for number, line in enumerate(lines, 1):
        for match in _WORDS.finditer(line):
            yield number, f"'{match[0]}': write {WORDS[match[0].lower()]}"


def docstrings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the lines and texts of the docstrings of ``node`` itself and of the attributes assigned directly in it."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for before, part in zip([node, *node.body], node.body, strict=False):
        match part:
            case ast.Expr(ast.Constant(str(text))) if before is node or isinstance(before, ast.Assign | ast.AnnAssign):
                yield part.lineno, text


def in_docstring(line: int, docstring: str) -> Iterator[tuple[int, str]]:
    """Yield the problem of a docstring's first word."""
    first = re.match(r"\w+", docstring.strip())
    if first and first[0] in OPENINGS:
        yield line, f"a docstring begins with '{first[0]}': begin with a verb or a noun"


def main(places: list[str]) -> int:
    """Print the problems of files and folders, and return 1 if there are any."""
    count = 0
    for place in map(Path, places or FOLDERS):
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for path in files:
            if path.suffix in (".py", ".yaml", ".md") and path.resolve() != Path(__file__).resolve():
                for line, problem in sorted(problems(path)):
                    print(f"{path}:{line}: {problem}")
                    count += 1
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
