"""Options of every group: files of lmlab, and files in the user's folder, which take precedence.

Hydra searches a list of folders. The plugin in ``hydra_plugins`` puts the folder of ``--config-dir`` before lmlab's, so
that a user's file replaces the one of the same name. The configurations of the commands cannot be replaced.
"""

import re
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lmlab.config.canonical import CONF
from lmlab.config.short_names import BASE, NESTED, long_name, short_name
from lmlab.errors import UserError

PARTS_OF_MODEL = tuple(NESTED)
"""Groups whose options are sections of ``model``; a stack of blocks has one of each."""

MAY_BE_NULL = ("sweep", "experiment")
"""Groups without a default, from which no option need be chosen."""

LIST = "logger"
"""The group whose choice is a list, because a run may have none or several of its options."""

SEVERAL = ("callbacks", LIST)
"""Groups from which a run may have several options."""

_folder: Path | None = None
_notes: dict[str, bool] = {}
"""Notes on user's files that were composed in this process, and whether each has been printed."""


def use_folder(words: list[str]) -> None:
    """Remember the folder of ``--config-dir`` in the words of a command line.

    Raises:
        UserError: there is no such folder, or options are in a folder that Hydra does not search.
    """
    from hydra._internal.utils import get_args_parser

    global _folder
    named = getattr(get_args_parser().parse_known_args(words)[0], "config_dir", None)
    _folder = None if not named else Path(named).absolute()
    if _folder is not None:
        if not _folder.is_dir():
            raise UserError(f"--config-dir={named}: there is no folder {_folder}")
        _check_layout(_folder)


def _check_layout(folder: Path) -> None:
    """Refuse options of nested groups at the top level of a user's folder. Raises ``UserError``."""
    for part in PARTS_OF_MODEL:
        if (folder / part).is_dir():
            here, there = _shown(folder / part), _shown(folder / long_name(part))
            parent = shlex.quote(f"{there.parent}/")
            move = f"mkdir -p {parent} && mv {shlex.quote(str(here))} {parent}"
            raise UserError(f"{here}: options of {part} belong in {there} ({move})")


def users_folder() -> Path | None:
    """Return the folder that ``--config-dir`` names, if any."""
    return _folder


def note_use(path: Path, group: str, name: str) -> None:
    """Store a note for :func:`say_notes` if a composed file replaces one of lmlab's."""
    if not path.is_relative_to(CONF) and (CONF / group / f"{name}.yaml").is_file():
        _notes.setdefault(f"{short_name(group)}={name} is {_shown(path)}, not the one of lmlab", False)


def say_notes() -> None:
    """Print to standard error, once each, which user's files replace lmlab's or lack their header."""
    for line in [line for line, printed in _notes.items() if not printed]:
        _notes[line] = True
        print(line, file=sys.stderr)


def replaced(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the chosen user's files that replace files of lmlab with the same name, by group."""
    files = {group: file_of(group, str(name)) for group, name in choices.items()}
    return {
        group: str(path)
        for group, path in files.items()
        if path is not None and not path.is_relative_to(CONF) and (CONF / long_name(group) / path.name).is_file()
    }


def groups() -> list[str]:
    """Return the names of all groups, with ``hydra/launcher`` and the like."""
    names = {"hydra/launcher", "hydra/sweeper"}
    for folder in _folders():
        names |= {path.name for path in folder.iterdir() if path.is_dir() and path.name != "hydra"}
    return sorted({*names, *PARTS_OF_MODEL})


def options_of(group: str) -> list[str]:
    """Return the options of a group: paths below the group's folder, without suffix."""
    names = set()
    for folder in (folder / long_name(group) for folder in _folders()):
        names |= {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    nested = tuple(f"{long.removeprefix(f'{group}/')}/" for long in NESTED.values() if long.startswith(f"{group}/"))
    return sorted(name for name in names if (group, name) != BASE and not name.startswith(nested))


def file_of(group: str, option: str) -> Path | None:
    """Return the file of an option; ``None`` if there is none."""
    folders = (folder / long_name(group) for folder in _folders())
    return next((path for folder in folders if (path := folder / f"{option}.yaml").is_file()), None)


def package(path: Path, group: str, header: str | None) -> str | None:
    """Return the package of a file in a group; ``None``: that of the group. A user's file need not declare it.

    Args:
        header: the value of its line ``# @package``, if there is one.

    Raises:
        UserError: files of the group have the global package, and this one declares another.
    """
    if group and _is_global(group.partition("/")[0]):
        line = f"# @package {_GLOBAL}"
        if header is None:
            _notes.setdefault(f"{_shown(path)}: add the first line {line!r} (it is read as if it were there)", False)
        elif header != _GLOBAL:
            raise UserError(f"{path}: expected the first line {line!r}, got '# @package {header}'")
        return _GLOBAL
    return header


def having(key: str) -> dict[str, list[str]]:
    """Return the options of every group that have the dotted option ``key``: for ``data.paths`` only ``data=text``."""
    names: dict[str, list[str]] = {}
    for group in groups():
        if group == "experiment":
            continue
        for name in options_of(group):
            if (path := file_of(group, name)) is None:
                continue
            place = _header(path) or (_GLOBAL if _is_global(group) else long_name(group).replace("/", "."))
            content = _content(path)
            if _has(content if place == _GLOBAL else {place: content}, key):
                names.setdefault(group, []).append(name)
    if "text" in (data := names.get("data", [])):  # the most likely of those that have it, as data.paths
        data.sort(key=lambda name: name != "text")
    if len(names) > 1:  # an option of a part of a model, which some models also set
        names.pop("model", None)
    return names


def extended_by(group: str, option: str) -> list[str]:
    """Return the options of a group that an option extends, as named in its defaults list."""
    names: list[str] = []
    path = file_of(group, option)
    for entry in _defaults(path) if path is not None else ():
        if isinstance(entry, str) and entry != "_self_":
            names += [entry, *extended_by(group, entry)]
    return names


def content_of(group: str, option: str) -> dict[str, Any]:
    """Return the sections and values that an option sets, those of the options that it extends included."""
    path = file_of(group, option)
    if path is None:
        return {}
    content: dict[str, Any] = {}
    for entry in _defaults(path):
        if isinstance(entry, str) and entry != "_self_":
            content |= content_of(group, entry)
    return content | {key: value for key, value in _content(path).items() if key != "defaults"}


def _has(section: Any, key: str) -> bool:
    """Return whether a section has a dotted option; keys of the section may contain dots."""
    if not isinstance(section, Mapping):
        return False
    return any(
        key == name or (key.startswith(f"{name}.") and _has(value, key[len(str(name)) + 1 :]))
        for name, value in section.items()
    )


def check_content(path: Path, content: Any) -> None:
    """Refuse a user's file with content that would have no effect.

    Raises:
        UserError: the message names the file and the correct form.
    """
    if not isinstance(content, dict | None):
        raise UserError(f"{path}: expected options as key: value, got {type(content).__name__}")
    for key, value in (content or {}).items():
        name = str(key).split(" ")[-1].removeprefix("/")
        if key == "defaults":
            if not isinstance(value, list | None):
                raise UserError(f"{path}: defaults: expected a list, as - override /optimizer: sgd")
        elif isinstance(value, str) and value != "???" and (CONF / long_name(name)).is_dir():
            raise UserError(
                f"{path}: {key}: {value}: choices belong in the list defaults, as - override /{name}: {value}"
            )
        elif "." in str(key):
            section, _, option = str(key).partition(".")
            raise UserError(f"{path}: {key}: expected a section, as {section}: {{{option}: ...}}")


def with_overrides(path: Path, group: str, option: str, defaults: list[Any]) -> list[Any]:
    """Return the defaults list of a file with its choices from other groups in Hydra's form.

    ``override /optimizer: adam`` means ``override /optimizer@_global_.optimizer: adam`` in every file. So do
    ``optimizer: adam``, ``/optimizer: adam`` and ``override optimizer: adam``, because every group already has an
    option. Nested groups may have their short names.

    Raises:
        UserError: the file extends itself.
    """
    if option in defaults:
        raise UserError(
            f"{path}: its defaults name itself; to extend the {option} that comes with lmlab, "
            f"give the file another name (my_{option}.yaml, chosen as {group}=my_{option})"
        )
    composed: list[Any] = []
    overriding: list[Any] = []  # Hydra requires overrides at the end of the list; their order has no effect
    for entry in defaults:
        key = str(next(iter(entry))) if isinstance(entry, dict) and len(entry) == 1 else ""
        name = key.split(" ")[-1]
        top, _, package = name.removeprefix("/").partition("@")
        top = long_name(top)
        if group and top.startswith(f"{group}/"):  # nested in the group of the file
            name = top.removeprefix(f"{group}/")
        if name and any((folder / group / name).is_dir() for folder in _folders()):
            keywords = key.split(" ")[:-1]
            if group == "model" and "override" not in keywords and name in _parts_extended(defaults):
                keywords.append("override")
            (overriding if "override" in keywords else composed).append({" ".join([*keywords, name]): entry[key]})
        elif top and (CONF / top).is_dir() and package in ("", place := f"{_GLOBAL}.{top.replace('/', '.')}"):
            overriding.append({f"override /{top}@{place}": entry[key]})
        else:
            (overriding if key.startswith("override ") else composed).append(entry)
    return composed + overriding


def _parts_extended(defaults: list[Any]) -> set[str]:
    """Return the parts of a model that the options extended by a defaults list choose."""
    return {part for entry in defaults if isinstance(entry, str) for part in _parts_of(entry)}


_GLOBAL = "_global_"
"""The package of a file that sets options of all sections, not only of the section of its group."""


@cache
def _is_global(group: str) -> bool:
    """Return whether lmlab's files of a group have the global package."""
    headers = {_header(path) for path in (CONF / group).glob("*.yaml")}
    return headers == {_GLOBAL}


def _shown(path: Path) -> Path:
    """Return a path relative to the working folder if it is below it."""
    return path.relative_to(here) if path.is_relative_to(here := Path.cwd()) else path


def _folders() -> list[Path]:
    return [folder for folder in (_folder, CONF) if folder is not None and folder.is_dir()]


@cache
def _header(path: Path) -> str | None:
    match = re.match(r"\s*#\s*@package\s+(\S+)", path.read_text(encoding="utf-8"))
    return match[1] if match else None


def architecture(choices: Mapping[str, Any], pattern: Any = None) -> str:
    """Return the name of a model with the parts that replace its own: ``transformer-gru``.

    The name of the mixer replaces that of ``model=custom`` and of a model with the same name as its own mixer.

    Args:
        choices: the option of every group.
        pattern: ``model.pattern``; its mixers replace the chosen one.
    """
    model = str(choices["model"])
    own = _parts_of(model)
    changed = {part: str(choices.get(part)) for part in PARTS_OF_MODEL if str(choices.get(part)) != str(own.get(part))}
    if pattern is not None:
        changed.pop("mixer", None)
    replaced = "mixer" in changed and model in ("custom", own.get("mixer"))
    return "-".join([*([] if replaced else [model]), *changed.values()])


def choices_of(pattern: Any) -> dict[str, str]:
    """Return the chosen option of every group in the configuration being composed, and the name of the architecture.

    Args:
        pattern: ``model.pattern``; its mixers replace the chosen one.
    """
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices
    options = {group: str(option) for group, option in choices.items() if not str(group).startswith("hydra/")}
    return options | {"architecture": architecture(options, pattern)}


def default_name(*, _root_: Any) -> str:
    """Return the default name of a run: the names of its model and its data."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    choices = HydraConfig.get().runtime.choices
    return as_name(f"{architecture(choices, OmegaConf.select(_root_, 'model.pattern'))}-{choices['data']}")


def _parts_of(model: str, within: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the options of ``PARTS_OF_MODEL`` that an option of ``model``, or one that it extends, chooses."""
    path = file_of("model", model)
    entries = _defaults(path) if path is not None and model not in within else []
    parts: dict[str, Any] = {}
    for entry in entries:
        if isinstance(entry, str) and entry != "_self_":
            parts |= _parts_of(entry, (*within, model))
    for entry in entries:
        if isinstance(entry, dict):
            ((key, option),) = entry.items()
            if (group := _group_of(key)) in PARTS_OF_MODEL:
                parts[group] = option
    return parts


def file_choosing(group: str, option: str) -> Path | None:
    """Return a user's file whose defaults list chooses an option of a group; ``None`` if none does."""
    paths = sorted(_folder.rglob("*.yaml")) if _folder is not None else []
    entries = ((path, entry) for path in paths for entry in _defaults(path) if isinstance(entry, dict))
    choices = ((path, _group_of(key), name) for path, entry in entries for key, name in entry.items())
    return next((path for path, *choice in choices if choice == [group, option]), None)


def _group_of(key: str) -> str:
    """Return the group of an entry of a defaults list: ``mixer`` for ``override /model/mixer``."""
    return short_name(key.split(" ")[-1].removeprefix("/").partition("@")[0])


def _defaults(path: Path) -> list[Any]:
    return list(_content(path).get("defaults") or [])


@cache
def _content(path: Path) -> dict[str, Any]:
    """Return the options in a file; empty if it holds no section."""
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


LONGEST = 100
"""Maximum length in bytes; file systems allow 255 for a directory's name with the id, and for temporary names."""

_ALLOWED = re.compile(r"\w[\w.+=@-]*")


def check_name(name: str) -> str:
    """Return ``name`` if it is valid as part of a directory's name.

    Raises:
        UserError: the name is empty, too long, or has characters with a special meaning in paths or shells.
    """
    if not name:
        raise UserError("name= has no value: give a name, or omit it to use that of the model and the data")
    if len(name.encode()) > LONGEST:
        raise UserError(f"name={name[:20]}...: {len(name.encode())} bytes long, expected at most {LONGEST}")
    if not _ALLOWED.fullmatch(name):
        suggestion = as_name(name)
        hint = f" (did you mean '{suggestion}'?)" if suggestion else ""
        raise UserError(f"name={name!r}: expected letters, digits and - _ . + = @, a letter or digit first{hint}")
    return name


def as_name(text: str) -> str:
    """Return ``text`` with a dash in place of characters that names cannot have."""
    cut = re.sub(r"[^\w.+=@-]+", "-", text).strip("-.+=@").encode()[:LONGEST]
    return cut.decode(errors="ignore")
