"""Finding runs: the directory of a configuration, and the run that a user means by a path or the start of an id."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from lmlab.config import Config, identity
from lmlab.errors import UserError, nearest
from lmlab.runs.run import Run
from lmlab.surroundings import expanded


def all_runs(folder: Path) -> Iterator[Run]:
    """Yield every run directory directly below ``folder`` (``<outputs>/runs``), in order of name; no hidden ones."""
    for manifest in sorted(folder.glob("[!.]*/run.json")):
        yield Run(manifest.parent)


def directory_for(config: Config, copy: int = 1) -> Run:
    """The directory of the ``copy``-th computation of what ``config`` asks for; copies above 1 are repetitions."""
    suffix = "" if copy == 1 else f"-{copy}"
    return Run(Path(config["paths"]["runs"]) / f"{config['name']}-{identity(config)}{suffix}")


def existing(config: Config) -> Run:
    """The directory of ``config``: where a run of that identity lies, under whatever name, or where it will lie."""
    wanted = directory_for(config)
    if wanted.exists:
        return wanted
    same = sorted(Path(config["paths"]["runs"]).glob(f"*-{identity(config)}/run.json"))
    return Run(same[0].parent) if same else wanted


def next_copy(config: Config, taken: Collection[Path] = ()) -> Run:
    """A sibling for computing ``config`` afresh: the first unfinished repetition, or a new one.

    Args:
        taken: absolute directories of repetitions that are not to be returned.
    """
    copy = 2
    while (run := directory_for(config, copy)).path.absolute() in taken or (run.exists and run.status == "finished"):
        copy += 1
    return run


def by_start(option: str, start: str, names: Collection[str], one: Callable[[str], str] = str) -> str | None:
    """Return the name that ``start`` is, or the only one that begins with it; ``None`` if none does.

    Args:
        option: for the message.
        one: names of which this is equal count as one, the first of them.

    Raises:
        UserError: several do.
    """
    fitting = [start] if start in names else sorted(name for name in names if name.startswith(start))
    if len({one(name) for name in fitting}) > 1:
        listed = ", ".join(fitting[:6]) + (f" and {len(fitting) - 6} more" if len(fitting) > 6 else "")
        raise UserError(f"{option}={start}: ambiguous, it is the start of {listed}; give more characters")
    return min(fitting, key=lambda name: (len(name), name), default=None)


def run_by_id(option: str, start: str, ids: Collection[str]) -> str | None:
    """Return the id that begins with ``start``; of a run and its repetitions the first. See :func:`by_start`."""
    return by_start(option, start, ids, lambda run_id: run_id.partition("-")[0])


def find(run: str | None, folder: Path) -> Run:
    """Return the run that ``run`` means: a directory, its name in ``folder``, or any unambiguous start of an id.

    A start that fits a run and its own repetitions means the first of them.

    Raises:
        UserError: nothing fits, or several different runs do; the message lists the candidates.
    """
    if not run:
        raise UserError("run= has no value: give a run directory or the start of an id (lmlab runs lists them)")
    as_path = next((path for path in (expanded(run), folder / run) if path.is_dir()), None)
    if as_path is not None:
        found = Run(as_path.resolve())
        _ = found.manifest  # says what is wrong with a directory that is no run
        return found
    known: dict[str, Run] = {}
    for candidate in all_runs(folder):
        try:
            known[candidate.id] = candidate
        except UserError:  # one that cannot be read is no reason not to find another
            if f"-{run}" in candidate.path.name:
                raise
    if (run_id := run_by_id("run", run, known)) is not None:
        return known[run_id]
    hint = nearest(run, known) if known else f" ({folder} holds no runs)"
    raise UserError(f"run={run}: neither a directory nor the start of a run's id{hint}")
