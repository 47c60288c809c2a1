"""``lmlab options``: list all options and where they are defined. Only files are read; no option is imported."""

import ast
import textwrap
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from lmlab.config import options
from lmlab.config.canonical import CONF
from lmlab.config.comments import aligned, settings
from lmlab.config.kinds import kind_of
from lmlab.errors import UserError, nearest

HELP = """lmlab options                  every group of options, with its base class
lmlab options mixer            the options of a group, a line each, and where they are defined
lmlab options mixer=attention  the settings of one option
--config-dir FOLDER            with the options in a folder of your own"""


def main(words: Sequence[str]) -> None:
    """Print groups, the options of a group, or the settings of an option.

    Raises:
        UserError: there is no such group or option.
    """
    if any(word in ("-h", "--help") for word in words):
        print(HELP)
        return
    options.use_folder(list(words))
    named = [word for number, word in enumerate(words) if not _is_of_folder(words, number)]
    if len(named) > 1:
        raise UserError(f"expected one group, as lmlab options {named[0]}, got {' '.join(named)}")
    group, equals, option = (named or [""])[0].partition("=")
    if group and group not in options.groups():
        raise UserError(f"there is no group '{group}'{nearest(group, options.groups())}")
    if not group:
        _show_groups()
    elif not equals:
        _show_options(group)
    elif option in options.options_of(group):
        _show_settings(group, option)
    else:
        raise UserError(f"{group}={option}: there is no such option{nearest(option, options.options_of(group))}")


def completions(word: str) -> list[str]:
    """Return the groups, or the options of a group, that complete a word."""
    group, equals, _ = word.partition("=")
    words = [f"{group}={option}" for option in options.options_of(group)] if equals else options.groups()
    return [each for each in words if each.startswith(word)]


def _is_of_folder(words: Sequence[str], number: int) -> bool:
    flags = ("--config-dir", "-cd")
    return words[number].startswith(flags) or (number > 0 and words[number - 1] in flags)


def _show_groups() -> None:
    from rich.markup import escape

    from lmlab.commands import tables

    rows = []
    for group in options.groups():
        kind = kind_of(group)
        rows.append(
            {
                "group": group,
                "options": str(len(options.options_of(group))),
                "purpose": "" if kind is None else kind.purpose,
                "base class": "" if kind is None else escape(kind.base),
            }
        )
    tables.print_table("", rows, optional=["base class"])
    tables.say("lmlab options mixer   lmlab options mixer=attention", "\nNext:")


def _show_options(group: str) -> None:
    from rich.markup import escape

    from lmlab.commands import tables

    kind = kind_of(group)
    if kind is not None:
        supplied = f"; lmlab supplies {', '.join(kind.supplied)}" if kind.supplied else ""
        tables.say(f"{kind.purpose}. Base class: {kind.base}{supplied}", f"{group}:")
    paths = {option: path for option in options.options_of(group) if (path := options.file_of(group, option))}
    if not paths:
        raise UserError(f"{group}: has no options")
    places = {
        option: _class(path) or " ".join(["extends", *options.extended_by(group, option)[:1]])
        for option, path in paths.items()
    }
    room = max(40, tables.console.width - max(map(len, places)) - max(map(len, places.values())) - 6)
    rows = [
        {
            "option": escape(option),
            "in a line": escape(textwrap.shorten(summary(path), room, placeholder=" …")),
            "defined in": escape(places[option]),
        }
        for option, path in paths.items()
    ]
    tables.print_table("", rows)
    tables.say(f"lmlab options {group}={next(iter(paths))}", "\nNext:")


def _show_settings(group: str, option: str) -> None:
    from lmlab.commands import tables

    path = options.file_of(group, option)
    assert path is not None
    tables.say(summary(path), f"{group}={option}:")
    tables.say(_where(path), "Defined in:")
    rows = ((f"{each.indent}{each.key}: {each.value}".rstrip(), each.comment) for each in settings(path))
    for line in aligned(rows):
        tables.say(line)
    for extended in options.extended_by(group, option):
        tables.say(f"lmlab options {group}={extended}", "Extends:")


def summary(path: Path) -> str:
    """Return a line about an option: the first comment of its file, or the docstring of its class."""
    text = path.read_text(encoding="utf-8")
    comments = takewhile(lambda line: line.startswith("#"), text.splitlines())
    lines = [line.lstrip("# ") for line in comments if "@package" not in line and not line.startswith("#  ")]
    if lines:
        return " ".join(lines)
    content = yaml.safe_load(text)
    target = next(_targets(content), None)
    return "" if target is None else _first_line(target)


def _targets(node: Any) -> Any:
    """Yield the targets below a node, outermost first."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)


def _first_line(target: str) -> str:
    """Return the first line of the docstring of a class or function of lmlab, without importing it."""
    package, *modules, name = target.split(".")
    root = Path(__file__).parents[1]
    if package != root.name:
        return target
    path = root.joinpath(*modules)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        return target
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return (ast.get_docstring(node) or target).splitlines()[0]
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return _first_line(f"{node.module}.{name}")
    return target


def _class(path: Path) -> str:
    """Return the class or function that a file of lmlab names, or the path of a user's file."""
    if not path.is_relative_to(CONF):
        return str(path)
    return next(_targets(yaml.safe_load(path.read_text(encoding="utf-8"))), "")


def _where(path: Path) -> str:
    """Return the path of a file, and the class or function that it names."""
    target = next(_targets(yaml.safe_load(path.read_text(encoding="utf-8"))), "")
    place = f"conf/{path.relative_to(CONF)}" if path.is_relative_to(CONF) else str(path)
    return f"{place} ({target})" if target else place
