"""Identification of local files by absolute paths and by checksums of its content, now or at the time of a run."""

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmlab.commands import tables
from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Folders
from lmlab.config.identity import identity, paths_of
from lmlab.config.nodes import Config, at, set_at
from lmlab.errors import UserError
from lmlab.runs.content import with_content
from lmlab.runs.lookup import all_runs, config_here
from lmlab.runs.start import check_parent, identified, started_from
from lmlab.surroundings import expanded, matches

_BUILT = ("model", "data", "tokenizer", "objective", "optimizer", "scheduler", "trainer")
"""Sections that describe an object."""


def located(config: Config, parent: Config | None = None) -> Config:
    """Return ``config`` with absolute paths to local files and the checksums of the files.

    If a file is gone, its checksum comes from the runs of ``config``.

    Args:
        parent: the configuration, located, of an earlier stage that this one starts from.

    Raises:
        UserError: a section names no target; or a file is missing or unsuitable, and there is no such run, or there
            are several with different files.
    """
    for section in _BUILT:
        if not config[section].get("_target_"):
            raise UserError(f"{section}._target_ has no value: expected the class that {section} describes")
    config = copy.deepcopy(config)
    for option in paths_of(config):  # relative paths mean other files in another folder
        if (place := at(config, option)) is not None:
            set_at(config, option, _absolute(place))
    if "revision" in config["data"]:  # a name of a revision means other texts at another time
        validate(config["data"], "data")
        corpora = at(config, "paths.corpora")
        commit = build(config["data"]).commit(expanded(corpora) if corpora else None)
        config = config | {"data": config["data"] | {"revision": commit}}
    if parent is not None:
        return _with_content(started_from(config, parent))
    config = _with_content(identified(config))
    check_parent(config)
    return config


def _with_content(config: Config) -> Config:
    """Return ``config`` with the checksums of its files, or, if some are gone, with those of its runs."""
    try:
        return with_content(config)
    except UserError as error:
        gone = list(dict.fromkeys(name for option, name in paths_of(config).items() if _is_gone(at(config, option))))
        runs = _runs_by_content(config, gone) if gone else {}
        names = ", ".join(name for of_files in runs.values() for name in of_files)
        if not runs:
            raise
        what = "text" if gone == ["data"] else "file"
        if len(runs) > 1:
            message = f"{error}; {names} had different {what}s there, and can be evaluated without them"
            raise UserError(message) from error
        tables.say(f"{error}; going by the {what} that {names} had", style="yellow")
        return with_content(config, dict(*runs))


def _is_gone(paths: Any) -> bool:
    """Return whether a file or folder that an option names is not there."""
    if isinstance(paths, (list, dict)):
        return any(map(_is_gone, paths.values() if isinstance(paths, dict) else paths))
    return isinstance(paths, str) and not matches(Path(paths))


def _runs_by_content(config: Config, gone: list[str]) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """Return the names of the runs of ``config`` by the checksums of their files at the paths that are ``gone``."""
    runs: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in all_runs(Folders.of(config["paths"]).runs):
        with suppress(UserError):  # skip runs that cannot be read
            saved = config_here(run)
            content = saved.get("content", {})
            names = paths_of(config)
            places = [option for option, name in names.items() if name in gone]
            same_place = all(names[option] in content and at(saved, option) == at(config, option) for option in places)
            recorded = {name: content[name] for name in gone} if same_place else {}
            if same_place and identity(saved) == identity(with_content(config, recorded)):
                runs.setdefault(tuple(recorded.items()), []).append(run.path.name)
    return runs


def _absolute(paths: Any) -> Any:
    if isinstance(paths, list):
        return [_absolute(path) for path in paths]
    if isinstance(paths, dict):
        return {split: _absolute(path) for split, path in paths.items()}
    return str(expanded(paths).absolute()) if paths and isinstance(paths, str) and "://" not in paths else paths
