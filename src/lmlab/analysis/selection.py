"""Selection of runs: by directory, start of an id, sweep or folder, and by tag or options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from lmlab.analysis.options import flat
from lmlab.analysis.records import Record, Records, read
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Config, at
from lmlab.errors import UserError, nearest
from lmlab.runs.lookup import by_start, run_by_id
from lmlab.runs.run import Run, Status
from lmlab.surroundings import expanded

STATUSES = get_args(Status)


def select(
    folders: Folders,
    runs: str | Sequence[str] | None = None,
    tag: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> Records:
    """Return the selected runs, each read once.

    Args:
        runs: see :func:`named`.
        tag, where: see :func:`fits`.

    Raises:
        UserError: nothing matches one of ``runs``, or no run has the tag or the options.
    """
    records = named(folders, runs)
    if not records.readable and not records.unreadable:
        raise UserError(f"{folders.runs} holds no runs (start one: lmlab train model=lstm budget.tokens=200_000)")
    return Records(fitting(records.readable, tag, where), records.unreadable)


def fitting(records: Sequence[Record], tag: str | None = None, where: Mapping[str, Any] | None = None) -> list[Record]:
    """Return the runs that have a tag and options; see :func:`fits`. Raises ``UserError`` if none has them."""
    tags = {one for record in records for one in record.tags}
    if tag is not None and tag not in tags:
        raise UserError(f"tag={tag}: none of {len(records)} runs has this tag{nearest(tag, tags)}")
    matching = [record for record in records if fits(record, tag, where)]
    if where and not matching:
        raise UserError(f"{_written(where)}: none of {len(records)} runs has this{_hint(records, where)}")
    return matching


def named(folders: Folders, runs: str | Sequence[str] | None = None) -> Records:
    """Return the named runs, each once, in the order of their names; without names, all in ``paths.runs``.

    Args:
        runs: each is a run's directory or the name of one, the start of its id, a sweep's directory or the start of its
            name, or another folder of runs.

    Raises:
        UserError: nothing matches one of the names, or it is the start of several ids or sweeps.
    """
    folder, cache = folders.runs, folders.cache
    words = [runs] if isinstance(runs, str) else [str(word) for word in runs or ()]
    if not words:
        return read(directories(folder), cache, folder)
    meant: dict[Path, Run] = {}
    starts = []
    for word in words:
        matches = _by_path(word, folders)
        if matches is None:
            starts.append(word)
        meant |= {run.path.resolve(): run for run in matches or ()}
    if not starts:
        return read(sorted(meant.values(), key=lambda run: run.path.name), cache, folder)
    every = read(directories(folder), cache, folder)
    by_start = {_by_id(word, every, folders).run.path.resolve() for word in starts}
    others = read((run for path, run in meant.items() if path not in by_start), cache, folder)
    selected = [record for record in every.readable if record.run.path.resolve() in by_start] + others.readable
    return Records(sorted(selected, key=lambda record: record.run.path.name), others.unreadable)


def directories(folder: Path) -> list[Run]:
    """Return the entries of ``folder`` that are, or should be, runs, sorted by name.

    Hidden folders are skipped, and links to other entries of ``folder``. An entry that is not a run is detected when
    it is read.
    """
    if not folder.is_dir():
        return []
    real = folder.resolve()
    runs = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        try:
            is_copy = path.is_symlink() and path.resolve(strict=True).parent == real
            is_file = path.is_file()
        except (OSError, RuntimeError):  # a link that leads nowhere, or to itself
            is_copy = is_file = False
        if not is_copy and not is_file:
            runs.append(Run(path))
    return runs


def fits(
    record: Record,
    tag: str | None = None,
    where: Mapping[str, Any] | None = None,
    name: str | None = None,
    status: str | None = None,
) -> bool:
    """Return whether a run has the tag, every option in ``where`` (see :func:`contains`), and that status.

    Args:
        name: a part of its name.
    """
    return (
        (name is None or name in record.manifest["name"])
        and status in (None, record.status)
        and (tag is None or tag in record.tags)
        and contains(record.config, where or {}, record.manifest.get("choices", {}))
    )


def check_status(status: str | None) -> None:
    """Raise ``UserError`` if no run can have the status."""
    if status not in (None, *STATUSES):
        raise UserError(f"status={status}: unknown{nearest(status, STATUSES)}")


def contains(config: Config, where: Mapping[str, Any], choices: Mapping[str, str]) -> bool:
    """Return whether ``config`` has every option in ``where`` with that value; a key may be dotted.

    A group may be given by the name of its option.
    """
    for key, value in where.items():
        configured = at(config, key)
        if isinstance(value, Mapping):
            if not isinstance(configured, dict) or not contains(configured, value, {}):
                return False
        elif configured != value and choices.get(key) != value:
            return False
    return True


def _by_path(word: str, folders: Folders) -> list[Run] | None:
    """Return the runs of a directory or of a sweep; ``None`` if ``word`` is the path or name of neither."""
    from lmlab.sweeps.sweep import Sweep, all_sweeps

    folder = folders.runs
    for path in (expanded(word), folder / word):
        if (path / "run.json").exists() or (path.parent == folder and path.is_dir()):
            return [Run(path)]
        if (path / "sweep.json").exists():
            return _of_sweep(Sweep(path), folder)
        if path.is_dir() and any(path.glob("*/run.json")):
            return directories(path)
    sweeps = {sweep.path.name: sweep for sweep in all_sweeps(folders.sweeps)}
    name = by_start("runs", word, sweeps)
    return None if name is None else _of_sweep(sweeps[name], folder)


def _of_sweep(sweep: Any, folder: Path) -> list[Run]:
    """Return the runs of a sweep's jobs; runs of a moved sweep are looked up in ``folder``."""
    paths = [Path(job.path) for job in sweep.jobs if job.path is not None]
    return [Run(path if path.is_dir() or not (folder / path.name).is_dir() else folder / path.name) for path in paths]


def _by_id(word: str, every: Records, folders: Folders) -> Record:
    """Return the run whose id starts with ``word``: of a run and its repetitions, the first."""
    ids = {record.id: record for record in every.readable}
    if word in ids:
        return ids[word]
    for path, why in every.unreadable.items():  # the word may refer to one of these
        if f"-{word}" in path.name:
            raise UserError(why)
    if (run_id := run_by_id("runs", word, ids)) is not None:
        return ids[run_id]
    sweeps = [path.name for path in folders.sweeps.glob("*") if path.is_dir()]
    candidates = [*(name for record in every.readable for name in (record.id, record.run.path.name)), *sweeps]
    hint = nearest(word, candidates) or (
        " (lmlab runs lists the runs)" if candidates else f" ({folders.runs} holds no runs)"
    )
    raise UserError(f"runs={word}: neither a directory, nor a sweep, nor the start of a run's id{hint}")


def _written(where: Mapping[str, Any]) -> str:
    return " ".join(f"where.{key}={value}" for key, value in flat(where))


def _hint(records: Sequence[Record], where: Mapping[str, Any]) -> str:
    """Return a hint for the first option whose value no run has: the nearest value or option."""
    for key, value in flat(where):
        values = {one for record in records for one in _values(record, key)}
        if str(value) not in values:
            if values:
                return f": no run has {key}={value}{nearest(value, values)}"
            options = {name for record in records for name, _ in flat(record.config)}
            return f": {key} is not an option of these runs{nearest(key, options)}"
    return ""


def _values(record: Record, key: str) -> set[str]:
    """Return the names of an option's value in a run: the value itself, and the option chosen from a group."""
    node = at(record.config, key)
    values = {str(node)} if node is not None and not isinstance(node, Mapping) else set()
    choice = record.choice(key)
    return values | ({choice} if choice is not None else set())
