"""``lmlab train``: the result of a configuration, computed if it is not there yet; with -m, of many, side by side."""

import math
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from lmlab.commands import results, tables
from lmlab.config import Config, Paths
from lmlab.errors import RunFailed, UserError
from lmlab.runs import sweep
from lmlab.runs.execution import execute
from lmlab.runs.files import write_text
from lmlab.runs.lookup import existing, next_copy
from lmlab.runs.provenance import git_state, provenance
from lmlab.runs.run import Run


def task(
    *,
    paths: Paths,
    name: str,
    tags: list[str],
    seed: int,
    rerun: bool,
    progress: bool,
    log_every: int,
    batch: dict[str, Any],
    budget: dict[str, Any],
    validation: dict[str, Any],
    model: dict[str, Any],
    data: dict[str, Any],
    tokenizer: dict[str, Any],
    objective: dict[str, Any],
    optimizer: dict[str, Any],
    scheduler: dict[str, Any],
    trainer: dict[str, Any],
    callbacks: dict[str, Any],
    logger: dict[str, Any] | None = None,
) -> float:
    """Train, or return the recorded result; the value is the final validation loss (nan for a job that failed)."""
    config = dict(locals())
    if "paths" in data:  # the same words mean other files elsewhere
        config["data"] = data | {"paths": _absolute(data["paths"])}
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return results.show(compute(config, rerun=rerun, choices=_choices()))
    folder = Path(hydra.sweep.dir)
    job = {"overrides": list(hydra.overrides.task)}
    tables.say(" ".join(job["overrides"]), f"job {hydra.job.num + 1}:")
    try:
        run = compute(config, rerun=rerun, sweep_name=folder.name, choices=_choices())
    except (UserError, RunFailed) as error:
        tables.say(str(error), "failed:", "red")
        sweep.record(folder, hydra.job.num, job | {"status": "failed", "error": str(error)})
        return math.nan
    sweep.record(folder, hydra.job.num, job | {"status": "finished", "run": str(run.path)})
    return results.loss_of(run)


def finish() -> None:
    """After the last job of a sweep: all results side by side; the exit code says whether any job failed."""
    folder = sweep.SweepCallback.ended
    if folder is None:
        return
    rows = sweep.rows(folder)
    results.show_side_by_side([Run(Path(row["run"])) for row in rows if "run" in row])
    failed = [row for row in rows if row["status"] == "failed"]
    for row in failed:
        tables.say(f"{' '.join(row['overrides'])}: {row['error']}", "failed:", "red")
    tables.say(f"The sweep's record: {folder}")
    if failed:
        sys.exit(1)


def _absolute(paths: Any) -> Any:
    if isinstance(paths, list):
        return [_absolute(path) for path in paths]
    return str(Path(paths).expanduser().absolute()) if isinstance(paths, str) else paths


def _choices() -> dict[str, str]:
    """The options chosen of every group, to find runs by."""
    chosen = HydraConfig.get().runtime.choices
    return {group: str(option) for group, option in chosen.items() if not str(group).startswith("hydra/")}


def compute(
    config: Config, *, rerun: bool = False, sweep_name: str | None = None, choices: dict[str, str] | None = None
) -> Run:
    """Return the finished run of ``config``: as it is recorded, resumed, or trained from the start.

    Args:
        rerun: compute it afresh beside a finished one.
        sweep_name: the sweep that asks for it.
        choices: the option chosen of every group, recorded to find runs by.

    Raises:
        UserError: the configuration cannot be trained; nothing is left behind.
        RunFailed: the training failed; the directory says why, and asking again resumes it.
    """
    run = earlier = existing(config)
    if run.exists and run.status == "finished":
        if not rerun:
            results.say_recorded(run, config)
            return run
        run = next_copy(config)
    from lmlab.training.preflight import check

    source = check(config)
    config = with_size(config, source.tokenizer.size, earlier)
    waiting = lambda: tables.say(f"{run.path.name} is being computed by another process; waiting for it")  # noqa: E731
    with run.lock(waiting) as lock:
        if run.exists and run.status_recorded == "finished":
            return run
        new = not run.exists
        if not new:
            check_data(run, source.fingerprint)
        if new:
            create(run, config, data=source.describe(), sweep=sweep_name, choices=choices or {})
        elif run.checkpoints.exists():
            tables.say("goes on from its last checkpoint", run.path.name)
        try:
            execute(run, lock)
        except UserError:
            if new:
                run.remove()
            raise
    return run


def with_size(config: Config, vocabulary: int, earlier: Run) -> Config:
    """Return ``config`` with the width that gives its model the size it asks for, if it asks for one, and say which.

    Args:
        earlier: the directory of ``config``; where it exists, its width is kept as long as it gives that size.

    Raises:
        UserError: no width does.
    """
    from lmlab.training import sizing

    model, context = config["model"], config["batch"]["context"]
    if sizing.check_parameters(model) is None:
        return config
    kept = earlier.config["model"] if earlier.exists else None
    solved = kept if kept and sizing.fits(kept, vocabulary, context) else sizing.solve_width(model, vocabulary, context)
    size = f"{sizing.size_of(solved, vocabulary, context):,} {model['parameters_of']}"
    changed = [f"{key} other than {asked:.4g}" for key, asked in (solved.get("solved_from") or {}).items()]
    chosen = ", ".join([f"width {solved['width']}", *changed])
    tables.say(f"{chosen} ({size})", f"model.parameters={model['parameters']}:")
    return config | {"model": solved}


def check_data(run: Run, fingerprint: str) -> None:
    """Refuse to go on with a run on other data than it began with. Raises ``UserError``."""
    before = run.manifest["data"]["fingerprint"]
    if fingerprint != before:
        raise UserError(
            f"{run.path}: its data have changed since it began (fingerprint {before[:12]} then, {fingerprint[:12]} "
            "now); restore them, or delete the directory to begin anew"
        )


def create(run: Run, config: Config, **fields: Any) -> None:
    """Lay out a new run directory, with where it comes from."""
    origin = provenance(config)
    suffix = run.path.name.removeprefix(f"{config['name']}-")
    _, diff = git_state()
    run.create(config, suffix, provenance=origin, **fields)
    if diff:
        write_text(run.path / "git.diff", diff)
