"""The options of every group: lmlab's own files, and those of the user's folder, which come first.

Hydra looks for files in a list of places. ``UsersFolder`` in ``hydra_plugins`` puts the folder of ``--config-dir``
before lmlab's, so that a user's file takes the place of the one of the same name, but for the commands' own
configurations.
"""

import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lmlab.config import CONF
from lmlab.errors import UserError
from lmlab.runs.names import as_name

PARTS_OF_MODEL = ("mixer", "channel", "block", "head")
"""Groups whose options are sections of ``model``; every model names one of each."""

MAY_BE_NULL = ("sweep", "experiment")
"""Groups of which no option need be chosen."""

LIST = "logger"
"""The group of which a run may have no option, so that its choice is a list."""

SEVERAL = ("callbacks", LIST)
"""Groups of which a run may have several options."""

_folder: Path | None = None
_in_place: dict[str, bool] = {}
"""Options of the user's that took the place of lmlab's in this process, and whether that has been said."""


def use_folder(words: list[str]) -> None:
    """Take note of the folder that ``--config-dir`` names among the words of a command line.

    Raises:
        UserError: there is no such folder.
    """
    from hydra._internal.utils import get_args_parser

    global _folder
    named = getattr(get_args_parser().parse_known_args(words)[0], "config_dir", None)
    _folder = Path(named).absolute() if named else None
    if _folder is not None and not _folder.is_dir():
        raise UserError(f"--config-dir={named}: there is no folder {_folder}")


def users_folder() -> Path | None:
    """The folder that ``--config-dir`` names, if any."""
    return _folder


def note_use(option: str) -> None:
    """Take note that an option of the user's folder (``model/lstm``) is composed."""
    if (CONF / f"{option}.yaml").is_file():
        _in_place.setdefault(option, False)


def say_in_place() -> None:
    """Say on standard error, once, which files of the user's took the place of lmlab's."""
    for option in [option for option, said in _in_place.items() if not said]:
        _in_place[option] = True
        group, _, name = option.rpartition("/")
        print(f"{group}={name}: {_folder}/{option}.yaml takes the place of lmlab's own", file=sys.stderr)


def groups() -> list[str]:
    """The names of all groups, with ``hydra/launcher`` and the like."""
    names = {"hydra/launcher", "hydra/sweeper"}
    for folder in _folders():
        names |= {path.name for path in folder.iterdir() if path.is_dir() and path.name != "hydra"}
    return sorted(names)


def options_of(group: str) -> list[str]:
    """The options of a group: a path without its suffix below the group's folder each."""
    names = set()
    for folder in (folder / group for folder in _folders()):
        names |= {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    return sorted(names)


def file_of(group: str, option: str) -> Path | None:
    """The file of an option; ``None`` if there is none."""
    return next((path for folder in _folders() if (path := folder / group / f"{option}.yaml").is_file()), None)


def package_of(group: str) -> str | None:
    """Return the package of a group's options if it is not the group's name: the header of lmlab's own files."""
    headers = {_header(path) for path in sorted((CONF / group).glob("*.yaml"))} - {"model"}  # channel=none empties it
    return headers.pop() if len(headers) == 1 else None


def having(key: str) -> dict[str, list[str]]:
    """Of every group, the options that come with the dotted option ``key``: ``data.paths`` only with ``data=text``."""
    names: dict[str, list[str]] = {}
    for group in groups():
        if group == "experiment":
            continue
        for name in options_of(group):
            if (path := file_of(group, name)) is None:
                continue
            package = _header(path) or package_of(group) or group.replace("/", ".")
            content = _content(path)
            if _has(content if package == "_global_" else {package: content}, key):
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
        elif isinstance(value, str) and value != "???" and (CONF / name).is_dir():
            raise UserError(
                f"{path}: {key}: {value}: choices stand in the list defaults, as - override /{name}: {value}"
            )
        elif "." in str(key):
            section, _, option = str(key).partition(".")
            raise UserError(f"{path}: {key}: expected a section, as {section}: {{{option}: ...}}")


def with_overrides(group: str, option: str, defaults: list[Any]) -> list[Any]:
    """Return the defaults list of a user's file with overrides of whatever it names of lmlab's groups.

    Hydra wants ``override /mixer@_global_.mixer: gru``; that is what ``mixer: gru``, ``override mixer: gru`` and
    ``/mixer: gru`` mean as well, because every group has its option already.

    Raises:
        UserError: the file is to extend itself.
    """
    if option in defaults:
        raise UserError(
            f"{_folder}/{group}/{option}.yaml: its defaults name itself; to extend the {option} that comes with lmlab, "
            f"give the file another name (my_{option}.yaml, chosen as {group}=my_{option})"
        )
    composed: list[Any] = []
    overriding: list[Any] = []  # at the end, where Hydra wants them; their place means nothing
    for entry in defaults:
        key = next(iter(entry)) if isinstance(entry, dict) and len(entry) == 1 else ""
        name = str(key).split(" ")[-1]
        relative = any((folder / group / name).is_dir() for folder in _folders())
        top = name.removeprefix("/")
        if top and (CONF / top).is_dir() and (name.startswith("/") or not relative):
            overriding.append({f"override /{top}@_global_.{top.replace('/', '.')}": entry[key]})
        else:
            (overriding if str(key).startswith("override ") else composed).append(entry)
    return composed + overriding


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
    changed = {part: str(choices[part]) for part in PARTS_OF_MODEL if str(choices.get(part)) != str(own.get(part))}
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


def _parts_of(model: str) -> dict[str, Any]:
    """The options of ``PARTS_OF_MODEL`` that an option of ``model`` chooses, or leaves as ``lmlab train`` has them."""
    files = [CONF / "train.yaml"]
    while (path := file_of("model", model)) is not None and path not in files:
        files.append(path)
        extended = [entry for entry in _defaults(path) if isinstance(entry, str) and entry != "_self_"]
        model = extended[0] if extended else ""
    parts: dict[str, Any] = {}
    for path in [files[0], *files[:0:-1]]:
        for entry in _defaults(path):
            if isinstance(entry, dict):
                ((key, option),) = entry.items()
                if (part := key.split(" ")[-1].removeprefix("/").partition("@")[0]) in PARTS_OF_MODEL:
                    parts[part] = option
    return parts


def _defaults(path: Path) -> list[Any]:
    return list(_content(path).get("defaults") or [])


@cache
def _content(path: Path) -> dict[str, Any]:
    """The options in a file, none where it holds no section."""
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
