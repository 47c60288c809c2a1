"""Identification of local text by absolute paths and by checksums of its content, now or at the time of a run."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from lmlab.commands import tables
from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Folders
from lmlab.config.identity import identity
from lmlab.config.nodes import Config, at
from lmlab.errors import UserError
from lmlab.runs.content import with_content
from lmlab.runs.lookup import all_runs
from lmlab.runs.moved import config_here
from lmlab.runs.start import check_parent, identified, started_from
from lmlab.surroundings import expanded, matches

_BUILT = ("model", "data", "tokenizer", "objective", "optimizer", "scheduler", "trainer")
"""Sections that describe an object."""


def located(config: Config, parent: Config | None = None) -> Config:
    """Return ``config`` with absolute paths to local data and the checksums of the files.

    If the text is gone, the checksum comes from the runs of ``config``.

    Args:
        parent: the configuration, located, of an earlier stage that this one starts from.

    Raises:
        UserError: a section names no target; or the text is missing or no text, and there is no such run, or there are
            several with different texts.
    """
    for section in _BUILT:
        if not config[section].get("_target_"):
            raise UserError(f"{section}._target_ has no value: expected the class that {section} describes")
    data = config["data"]
    for option in ("paths", "files"):
        if option in data:  # relative paths mean other files in another folder
            data = data | {option: _absolute(data[option])}
    if "revision" in data:  # a name of a revision means other texts at another time
        validate(data, "data")
        corpora = at(config, "paths.corpora")
        data = data | {"revision": build(data).commit(expanded(corpora) if corpora else None)}
    config = config | {"data": data}
    if parent is not None:
        return _with_content(started_from(config, parent))
    config = _with_content(identified(config))
    check_parent(config)
    return config


def _with_content(config: Config) -> Config:
    """Return ``config`` with the checksums of its files, or, if the text is gone, with those of its runs."""
    try:
        return with_content(config)
    except UserError as error:
        runs = _runs_by_text(config) if _is_gone(at(config, "data.paths")) else {}
        names = ", ".join(name for of_text in runs.values() for name in of_text)
        if not runs:
            raise
        if len(runs) > 1:
            raise UserError(f"{error}; {names} had different texts there, and can be evaluated without them") from error
        tables.say(f"{error}; going by the text that {names} had", style="yellow")
        return with_content(config, *runs)


def _is_gone(paths: Any) -> bool:
    """Return whether a file or folder that ``data.paths`` names is not there."""
    if isinstance(paths, (list, dict)):
        return any(map(_is_gone, paths.values() if isinstance(paths, dict) else paths))
    return isinstance(paths, str) and not matches(Path(paths))


def _runs_by_text(config: Config) -> dict[str, list[str]]:
    """Return the names of the runs of ``config`` by the checksum of their text at ``data.paths``."""
    runs: dict[str, list[str]] = {}
    for run in all_runs(Folders.of(config["paths"]).runs):
        with suppress(UserError):  # skip runs that cannot be read
            saved = config_here(run)
            text = saved.get("content", {}).get("data")
            same_place = text is not None and at(saved, "data.paths") == at(config, "data.paths")
            if same_place and identity(saved) == identity(with_content(config, text)):
                runs.setdefault(text, []).append(run.path.name)
    return runs


def _absolute(paths: Any) -> Any:
    if isinstance(paths, list):
        return [_absolute(path) for path in paths]
    if isinstance(paths, dict):
        return {split: _absolute(path) for split, path in paths.items()}
    return str(expanded(paths).absolute()) if paths and isinstance(paths, str) and "://" not in paths else paths
