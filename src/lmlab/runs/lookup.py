"""Finding runs: the directory of a configuration, and the run that a user means by a path or the start of an id."""

from collections.abc import Collection, Iterator
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
    if run in known:
        return known[run]
    fitting = {run_id: found for run_id, found in known.items() if run_id.startswith(run)}
    if len({run_id.split("-")[0] for run_id in fitting}) == 1:
        return fitting[min(fitting, key=len)]
    if fitting:
        listed = ", ".join(sorted(fitting))
        raise UserError(f"run={run}: ambiguous, it is the start of {listed}; give more characters")
    hint = nearest(run, known) if known else f" ({folder} holds no runs)"
    raise UserError(f"run={run}: neither a directory nor the start of a run's id{hint}")
