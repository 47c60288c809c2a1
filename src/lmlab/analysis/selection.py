"""Which runs a user means: directories, starts of ids, sweeps, folders; and those of a tag or with some options."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from lmlab.analysis.records import Record, Records, read
from lmlab.config import Config, Paths, at
from lmlab.errors import UserError, nearest
from lmlab.runs.lookup import by_start, run_by_id
from lmlab.runs.run import Run, Status
from lmlab.surroundings import expanded

STATUSES = get_args(Status)


def select(
    paths: Paths,
    runs: str | Sequence[str] | None = None,
    tag: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> Records:
    """The runs that are meant, read once each.

    Args:
        paths: the section ``paths`` of a command.
        runs: see :func:`named`.
        tag, where: see :func:`fits`.

    Raises:
        UserError: nothing is meant by one of ``runs``, or none of them has that tag or those options.
    """
    records = named(paths, runs)
    if not records.found and not records.unreadable:
        raise UserError(f"{paths['runs']} holds no runs (a first one: lmlab train model=lstm budget.tokens=200_000)")
    tags = {one for record in records.found for one in record.tags}
    if tag is not None and tag not in tags:
        raise UserError(f"tag={tag}: none of {len(records.found)} runs has this tag{nearest(tag, tags)}")
    chosen = [record for record in records.found if fits(record, tag, where)]
    if where and not chosen:
        raise UserError(f"{_written(where)}: none of {len(records.found)} runs has this{_hint(records.found, where)}")
    return Records(chosen, records.unreadable)


def named(paths: Paths, runs: str | Sequence[str] | None = None) -> Records:
    """The runs that are named, each once, in the order of their names; ``None`` or none: all in ``paths.runs``.

    Args:
        runs: each is a run's directory or the name of one, the start of its id, a sweep's directory or the start of its
            name, or another folder of runs.

    Raises:
        UserError: nothing fits one of them, or it is the start of several ids or sweeps.
    """
    folder, cache = Path(paths["runs"]), Path(paths["cache"])
    words = [runs] if isinstance(runs, str) else [str(word) for word in runs or ()]
    if not words:
        return read(directories(folder), cache, folder)
    meant: dict[Path, Run] = {}
    starts = []
    for word in words:
        found = _by_path(word, paths)
        if found is None:
            starts.append(word)
        meant |= {run.path.resolve(): run for run in found or ()}
    if not starts:
        return read(sorted(meant.values(), key=lambda run: run.path.name), cache, folder)
    every = read(directories(folder), cache, folder)
    by_start = {_by_id(word, every, paths).run.path.resolve() for word in starts}
    others = read((run for path, run in meant.items() if path not in by_start), cache, folder)
    chosen = [record for record in every.found if record.run.path.resolve() in by_start] + others.found
    return Records(sorted(chosen, key=lambda record: record.run.path.name), others.unreadable)


def directories(folder: Path) -> list[Run]:
    """Whatever lies directly below ``folder`` and is, or should be, a run, in order of name.

    Hidden folders are none, and what is linked to within ``folder`` counts once. That something is no run turns out
    when it is read.
    """
    if not folder.is_dir():
        return []
    real = folder.resolve()
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        try:
            is_copy = path.is_symlink() and path.resolve(strict=True).parent == real
            is_file = path.is_file()
        except (OSError, RuntimeError):  # a link that leads nowhere, or to itself
            is_copy = is_file = False
        if not is_copy and not is_file:
            found.append(Run(path))
    return found


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
    """Refuse a status that no run can have. Raises ``UserError``."""
    if status not in (None, *STATUSES):
        raise UserError(f"status={status}: unknown{nearest(status, STATUSES)}")


def contains(config: Config, where: Mapping[str, Any], choices: Mapping[str, str]) -> bool:
    """Return whether every option in ``where`` has that value in ``config``; a key may be dotted.

    A group may be given by its option's name.
    """
    for key, value in where.items():
        configured = at(config, key)
        if isinstance(value, Mapping):
            if not isinstance(configured, dict) or not contains(configured, value, {}):
                return False
        elif configured != value and choices.get(key) != value:
            return False
    return True


def _by_path(word: str, paths: Paths) -> list[Run] | None:
    """The runs of a directory or of a sweep; ``None`` where ``word`` is the path or name of neither."""
    from lmlab.sweeps.sweep import Sweep, all_sweeps

    folder = Path(paths["runs"])
    for path in (expanded(word), folder / word):
        if (path / "run.json").exists() or (path.parent == folder and path.is_dir()):
            return [Run(path)]
        if (path / "sweep.json").exists():
            return _of_sweep(Sweep(path), folder)
        if path.is_dir() and any(path.glob("*/run.json")):
            return directories(path)
    known = {sweep.path.name: sweep for sweep in all_sweeps(Path(paths["outputs"]) / "sweeps")}
    name = by_start("runs", word, known)
    return None if name is None else _of_sweep(known[name], folder)


def _of_sweep(sweep: Any, folder: Path) -> list[Run]:
    """The runs of a sweep's jobs; those of one that was moved lie in ``folder``."""
    paths = [Path(job.path) for job in sweep.jobs if job.path is not None]
    return [Run(path if path.is_dir() or not (folder / path.name).is_dir() else folder / path.name) for path in paths]


def _by_id(word: str, every: Records, paths: Paths) -> Record:
    """Return the run whose id starts like this: of a run and its repetitions the first of them."""
    ids = {record.id: record for record in every.found}
    if word in ids:
        return ids[word]
    for path, why in every.unreadable.items():  # it may be the one that is meant
        if f"-{word}" in path.name:
            raise UserError(why)
    if (run_id := run_by_id("runs", word, ids)) is not None:
        return ids[run_id]
    sweeps = [path.name for path in (Path(paths["outputs"]) / "sweeps").glob("*") if path.is_dir()]
    known = [*(record.id for record in every.found), *(record.run.path.name for record in every.found), *sweeps]
    hint = nearest(word, known) or (" (lmlab runs lists the runs)" if known else f" ({paths['runs']} holds no runs)")
    raise UserError(f"runs={word}: neither a directory, nor a sweep, nor the start of a run's id{hint}")


def _flat(where: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in where.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _written(where: Mapping[str, Any]) -> str:
    return " ".join(f"where.{key}={value}" for key, value in _flat(where))


def _hint(records: Sequence[Record], where: Mapping[str, Any]) -> str:
    """The nearest value to that of the first option that no run has."""
    for key, value in _flat(where):
        known = {one for record in records for one in _values(record, key)}
        if str(value) not in known:
            if known:
                return f": {key}={value} is in none{nearest(value, known)}"
            options = {name for record in records for name, _ in _flat(record.config)}
            return f": {key} is no option of theirs{nearest(key, options)}"
    return ""


def _values(record: Record, key: str) -> set[str]:
    """What an option may be called in a run: its value, and the name that it was chosen by."""
    node = at(record.config, key)
    values = {str(node)} if node is not None and not isinstance(node, Mapping) else set()
    choice = record.choice(key)
    return values | ({choice} if choice is not None else set())
