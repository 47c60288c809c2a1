"""The options of every group: lmlab's own files, and those of the user's folder, which come first.

Hydra looks for files in a list of folders. The plugin in ``hydra_plugins`` puts that of ``--config-dir`` before
lmlab's, so that a user's file takes the place of the one of the same name, but for the commands' own configurations.
"""

import re
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lmlab.config import CONF
from lmlab.errors import UserError
from lmlab.runs.names import as_name
from lmlab.short_names import BASE, NESTED, long_name, short_name

PARTS_OF_MODEL = tuple(NESTED)
"""Groups whose options are sections of ``model``; a stack of blocks names one of each."""

MAY_BE_NULL = ("sweep", "experiment")
"""Groups of which no option need be chosen."""

LIST = "logger"
"""The group of which a run may have no option, so that its choice is a list."""

SEVERAL = ("callbacks", LIST)
"""Groups of which a run may have several options."""

_folder: Path | None = None
_notes: dict[str, bool] = {}
"""Lines about files of the user's that were composed in this process, and whether they have been printed."""


def use_folder(words: list[str]) -> None:
    """Take note of the folder that ``--config-dir`` names among the words of a command line.

    Raises:
        UserError: there is no such folder, or options lie where Hydra does not look for them.
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
    """Refuse options of nested groups at the top of a user's folder. Raises ``UserError``."""
    for part in PARTS_OF_MODEL:
        if (folder / part).is_dir():
            here, there = _shown(folder / part), _shown(folder / long_name(part))
            parent = shlex.quote(f"{there.parent}/")
            move = f"mkdir -p {parent} && mv {shlex.quote(str(here))} {parent}"
            raise UserError(f"{here}: options of {part} belong in {there} ({move})")


def users_folder() -> Path | None:
    """The folder that ``--config-dir`` names, if any."""
    return _folder


def note_use(path: Path, group: str, name: str) -> None:
    """Note that a file is composed, for :func:`say_notes`, if it takes the place of one of lmlab's."""
    if not path.is_relative_to(CONF) and (CONF / group / f"{name}.yaml").is_file():
        _notes.setdefault(f"{short_name(group)}={name} is {_shown(path)}, not the one of lmlab", False)


def say_notes() -> None:
    """Print on standard error, once each, which files of the user's took the place of lmlab's or lack their header."""
    for line in [line for line, printed in _notes.items() if not printed]:
        _notes[line] = True
        print(line, file=sys.stderr)


def replaced(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of the user's that were chosen in the place of lmlab's of the same name, by group."""
    files = {group: file_of(group, str(name)) for group, name in choices.items()}
    return {
        group: str(path)
        for group, path in files.items()
        if path is not None and not path.is_relative_to(CONF) and (CONF / long_name(group) / path.name).is_file()
    }


def groups() -> list[str]:
    """The names of all groups, with ``hydra/launcher`` and the like."""
    names = {"hydra/launcher", "hydra/sweeper"}
    for folder in _folders():
        names |= {path.name for path in folder.iterdir() if path.is_dir() and path.name != "hydra"}
    return sorted({*names, *PARTS_OF_MODEL})


def options_of(group: str) -> list[str]:
    """The options of a group: a path without its suffix below the group's folder each."""
    names = set()
    for folder in (folder / long_name(group) for folder in _folders()):
        names |= {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    nested = tuple(f"{long.removeprefix(f'{group}/')}/" for long in NESTED.values() if long.startswith(f"{group}/"))
    return sorted(name for name in names if (group, name) != BASE and not name.startswith(nested))


def file_of(group: str, option: str) -> Path | None:
    """The file of an option; ``None`` if there is none."""
    folders = (folder / long_name(group) for folder in _folders())
    return next((path for folder in folders if (path := folder / f"{option}.yaml").is_file()), None)


def package(path: Path, group: str, header: str | None) -> str | None:
    """Return the package of a file in a group, ``None`` for that of the group itself; a user's file need not say it.

    Args:
        header: what its line ``# @package`` says, if it has one.

    Raises:
        UserError: the group's options set options of all sections, and this one is to be in one section.
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
    """Of every group, the options that come with the dotted option ``key``: ``data.paths`` only with ``data=text``."""
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
    if len(names) > 1:  # a part of a model, which some models configure
        names.pop("model", None)
    return names


def extended_by(group: str, option: str) -> list[str]:
    """The options of a group that an option extends: those that its defaults list names."""
    names: list[str] = []
    path = file_of(group, option)
    for entry in _defaults(path) if path is not None else ():
        if isinstance(entry, str) and entry != "_self_":
            names += [entry, *extended_by(group, entry)]
    return names


def _has(section: Any, key: str) -> bool:
    """Return whether a section, whose names may have dots, has a dotted option."""
    if not isinstance(section, Mapping):
        return False
    return any(
        key == name or (key.startswith(f"{name}.") and _has(value, key[len(str(name)) + 1 :]))
        for name, value in section.items()
    )


def check_content(path: Path, content: Any) -> None:
    """Refuse a user's file that says something in a place where it means nothing.

    Raises:
        UserError: it names the file and the form that is right.
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
                f"{path}: {key}: {value}: choices stand in the list defaults, as - override /{name}: {value}"
            )
        elif "." in str(key):
            section, _, option = str(key).partition(".")
            raise UserError(f"{path}: {key}: expected a section, as {section}: {{{option}: ...}}")


def with_overrides(path: Path, group: str, option: str, defaults: list[Any]) -> list[Any]:
    """Return the defaults list of a file with its choices from other groups in Hydra's form.

    ``override /optimizer: adam`` means ``override /optimizer@_global_.optimizer: adam`` in every file. So do
    ``optimizer: adam``, ``/optimizer: adam`` and ``override optimizer: adam``, because every group has its option
    already. Nested groups may be called by their short names.

    Raises:
        UserError: the file is to extend itself.
    """
    if option in defaults:
        raise UserError(
            f"{path}: its defaults name itself; to extend the {option} that comes with lmlab, "
            f"give the file another name (my_{option}.yaml, chosen as {group}=my_{option})"
        )
    composed: list[Any] = []
    overriding: list[Any] = []  # at the end, where Hydra wants them; their place means nothing
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
    """The parts of a model that come with what a defaults list extends."""
    return {part for entry in defaults if isinstance(entry, str) for part in _parts_of(entry)}


_GLOBAL = "_global_"
"""The package of a file whose options are of all sections, and not of that of its group."""


@cache
def _is_global(group: str) -> bool:
    """Return whether the options of a group set options of all sections, as those of lmlab do."""
    headers = {_header(path) for path in (CONF / group).glob("*.yaml")}
    return headers == {_GLOBAL}


def _shown(path: Path) -> Path:
    """A path as one would type it here."""
    return path.relative_to(here) if path.is_relative_to(here := Path.cwd()) else path


def _folders() -> list[Path]:
    return [folder for folder in (_folder, CONF) if folder is not None and folder.is_dir()]


@cache
def _header(path: Path) -> str | None:
    match = re.match(r"\s*#\s*@package\s+(\S+)", path.read_text(encoding="utf-8"))
    return match[1] if match else None


def architecture(choices: Mapping[str, Any], pattern: Any = None) -> str:
    """The name of a model with the parts that were chosen in the place of its own: ``transformer-gru``.

    What a mixer is all there is to, ``model=custom`` or one that is called as its own mixer, is called by the mixer.

    Args:
        choices: the option of every group.
        pattern: ``model.pattern``; the mixers that it names take the place of any that is chosen.
    """
    model = str(choices["model"])
    own = _parts_of(model)
    changed = {part: str(choices.get(part)) for part in PARTS_OF_MODEL if str(choices.get(part)) != str(own.get(part))}
    if pattern is not None:
        changed.pop("mixer", None)
    replaced = "mixer" in changed and model in ("custom", own.get("mixer"))
    return "-".join([*([] if replaced else [model]), *changed.values()])


def choices_of(pattern: Any) -> dict[str, str]:
    """The option chosen of every group in the configuration that is being composed, and what they make the model be.

    Args:
        pattern: ``model.pattern``, which names mixers in the place of the one that is chosen.
    """
    from hydra.core.hydra_config import HydraConfig

    chosen = HydraConfig.get().runtime.choices
    options = {group: str(option) for group, option in chosen.items() if not str(group).startswith("hydra/")}
    return options | {"architecture": architecture(options, pattern)}


def default_name(*, _root_: Any) -> str:
    """The name of a run that is given none: what its model and its data are called."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    choices = HydraConfig.get().runtime.choices
    return as_name(f"{architecture(choices, OmegaConf.select(_root_, 'model.pattern'))}-{choices['data']}")


def _parts_of(model: str, within: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options of ``PARTS_OF_MODEL`` that an option of ``model`` chooses, itself or by what it extends."""
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


def chosen_by(group: str, option: str) -> Path | None:
    """A file of the user's whose defaults list chooses an option of a group; ``None``: none does."""
    paths = sorted(_folder.rglob("*.yaml")) if _folder is not None else []
    entries = ((path, entry) for path in paths for entry in _defaults(path) if isinstance(entry, dict))
    choices = ((path, _group_of(key), name) for path, entry in entries for key, name in entry.items())
    return next((path for path, *choice in choices if choice == [group, option]), None)


def _group_of(key: str) -> str:
    """The group that an entry of a defaults list chooses from: ``mixer`` of ``override /model/mixer``."""
    return short_name(key.split(" ")[-1].removeprefix("/").partition("@")[0])


def _defaults(path: Path) -> list[Any]:
    return list(_content(path).get("defaults") or [])


@cache
def _content(path: Path) -> dict[str, Any]:
    """The options in a file, none where it holds no section."""
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
