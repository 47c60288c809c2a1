"""Comments of the files of options, which say what an option means; ``--help`` shows them beside the values."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.config.canonical import CONF
from lmlab.config.options import extended_by, file_of
from lmlab.config.overrides import written
from lmlab.config.short_names import long_name

_SETTING = re.compile(r"( *)([\w.]+):(?: +([^ #].*?))?(?: +# *(.*))?$")
_CONTINUED = re.compile(r" +# *(.*)$")
_SPECIAL = frozenset('\n{}[]"#')
_WIDEST = 36
"""Characters of a key and its value up to which all comments of a help text begin in one column."""


class Setting(NamedTuple):
    """A key of a file with its value as it is written there, and the lines of its comment."""

    indent: str
    key: str
    value: str
    comment: list[str]


def settings(path: Path) -> list[Setting]:
    """Return the keys that a file sets, without its defaults list."""
    rows: list[Setting] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _SETTING.fullmatch(line):
            indent, key, value, comment = match.groups(default="")
            rows.append(Setting(indent, key, value, [comment] if comment else []))
        elif rows and rows[-1].comment and (match := _CONTINUED.fullmatch(line)):
            rows[-1].comment.append(match[1])
    return [setting for setting in rows if setting.key not in ("defaults", "_partial_")]


def shown(*sections: str, _root_: Any) -> str:
    """Return a composed configuration as YAML with comments; a resolver of ``hydra.help.template``.

    Args:
        sections: sections and options of the command to show; none: all.
    """
    from omegaconf import OmegaConf

    hydra = _root_.hydra
    comments = _comments(str(hydra.job.config_name), hydra.runtime.choices)
    config: Any = OmegaConf.to_container(_root_, resolve=False)
    config["paths"] = OmegaConf.to_container(_root_.paths, resolve=True)
    keys = sections or [key for key in config if key != "hydra"]
    rows = _rows({key: config[key] for key in keys if key in config}, comments)
    return "".join(f"{line}\n" for line in aligned(rows)).replace("$", "$$")  # Hydra reads it as a string.Template


def aligned(rows: Iterable[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """Yield lines of text, each with the lines of its comment in a column beside it."""
    rows = list(rows)
    column = max((len(text) for text, comment in rows if comment and len(text) <= _WIDEST), default=0)
    for text, comment in rows:
        yield f"{text:<{column}}  # {comment[0]}" if comment else text
        yield from (f"{'':<{max(column, len(text))}}  # {more}" for more in comment[1:])


def _comments(command: str, choices: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the comments of a command's options and of those of the chosen options of each group, by dotted key."""
    comments: dict[str, list[str]] = {}
    for name in (*reversed(extended_by("", command)), command):
        comments |= _by_key(CONF / f"{name}.yaml", "")
    for group, option in choices.items():
        if group.startswith("hydra") or option is None:
            continue
        for each in option if not isinstance(option, str) else [option]:
            for name in (*reversed(extended_by(group, each)), each):
                if (path := file_of(group, name)) is not None:
                    comments |= _by_key(path, f"{long_name(group).replace('/', '.')}.")
    return comments


def _by_key(path: Path, prefix: str) -> dict[str, list[str]]:
    comments: dict[str, list[str]] = {}
    outer: list[Setting] = []
    for setting in settings(path):
        while outer and len(outer[-1].indent) >= len(setting.indent):
            outer.pop()
        outer.append(setting)
        if setting.comment:
            comments[prefix + ".".join(each.key for each in outer)] = setting.comment
    return comments


def _rows(
    section: Mapping[str, Any], comments: Mapping[str, list[str]], above: str = "", indent: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Yield a line for each key, with its comment."""
    for key, value in section.items():
        name = f"{above}{key}"
        if key == "_partial_":
            continue
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:", comments.get(name, [])
            yield from _rows(value, comments, f"{name}.", f"{indent}  ")
        else:
            yield f"{indent}{key}: {_value(value)}", comments.get(name, [])


def _value(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, str) and not (value and _SPECIAL.isdisjoint(value)):
        return json.dumps(value, ensure_ascii=False)
    return written(value).replace("\n", "\\n")
