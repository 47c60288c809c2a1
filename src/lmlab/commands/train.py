"""``lmlab train``: the result of a configuration, computed if it is not there yet; with -m, of many, side by side."""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from lmlab.commands import results, tables
from lmlab.commands.located import located
from lmlab.commands.options import choices_of, replaced
from lmlab.commands.wandb import hand_to_agent
from lmlab.config import Config, Paths, check_arguments, validate
from lmlab.errors import UserError
from lmlab.overrides import written
from lmlab.processes.layout import Execution, ranks_of
from lmlab.processes.other_nodes import follow
from lmlab.processes.signals import stopped_by_signals, undisturbed
from lmlab.processes.spawn import Ranks, warm_up
from lmlab.processes.supervisor import execute
from lmlab.runs import trust
from lmlab.runs.content import own_sources
from lmlab.runs.files import remove
from lmlab.runs.lookup import existing, next_copy
from lmlab.runs.names import check_name
from lmlab.runs.provenance import git_state, provenance
from lmlab.runs.run import Run
from lmlab.runs.start import Start
from lmlab.sweeps.options import SweepOptions
from lmlab.sweeps.sweep import Sweep
from lmlab.targets import own_targets, resolve_target
from lmlab.training.sections import check_sections

if TYPE_CHECKING:
    from lmlab.data.tasks import Task

_said: set[str] = set()  # notes on data


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
    execution: dict[str, Any],
    callbacks: dict[str, Any],
    start: dict[str, Any] | None = None,
    logger: dict[str, Any] | None = None,
    sweep: dict[str, Any] | None = None,
    study: dict[str, Any] | None = None,
    stages: dict[str, Any] | None = None,
) -> "Run | Prepared":
    """Train, or return the recorded result; in a sweep, return the directory that its launcher executes."""
    config = dict(locals())
    del config["sweep"], config["study"], config["stages"]  # what is searched is no part of what is found
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN and (options := SweepOptions.read(sweep).section):
        option, value = next(iter(options.items()))
        raise UserError(f"sweep.{option}={written(value)}: there is one job; -m makes a sweep of several values")
    check_name(name)
    if hydra.mode == RunMode.MULTIRUN:  # whatever launches the sweep executes what is prepared
        engine = resolve_target(hydra.launcher.engine, "hydra.launcher")
        here = not getattr(engine, "elsewhere", False)
        taken = _taken(Sweep(Path(hydra.sweep.dir)), hydra.job.num) if rerun else set()
        arrange = partial(prepare, sweep_name=Path(hydra.sweep.dir).name, here=here)
        if stages is not None:
            return _prepare_next(stages, arrange, rerun, taken, here)
        choices = choices_of(model.get("pattern"))
        return Prepared(arrange(located(config), rerun=rerun, choices=choices, taken=taken))
    if stages is not None:
        from lmlab.commands.stages import compute_all, show

        with stopped_by_signals():
            chain = compute_all(stages, hydra.overrides.task, rerun)
        show(chain)
        results.show(chain[-1].run)
        return chain[-1].run
    with stopped_by_signals():
        run = compute(located(config), rerun=rerun, choices=choices_of(model.get("pattern")))
    results.show(run)
    return run


class Prepared(NamedTuple):
    """The run directory that a job of a sweep needs next.

    Attributes:
        stage: the stage of the job's experiment whose run it is; ``None``: the run is the job's own, the last stage.
    """

    run: Run
    stage: str | None = None


def _prepare_next(
    section: dict[str, Any], arrange: Callable[..., Run], rerun: bool, taken: Collection[Path], here: bool
) -> Prepared:
    """Prepare the first stage that is not finished; ``rerun`` is for the last one."""
    from lmlab.commands.stages import check, compose, due

    stages = compose(section, HydraConfig.get().overrides.task)
    check(stages, here)
    last = stages[-1]
    for stage in due(stages):
        if stage is not last and not stage.is_finished:
            return Prepared(arrange(stage.config, choices=stage.choices, stage=stage.name), stage.name)
    return Prepared(arrange(last.config, rerun=rerun, choices=last.choices, taken=taken, stage=last.name))


def check_job(config: Config, words: Sequence[str], here: bool = True) -> None:
    """Refuse a composed configuration of a sweep's job that cannot be trained, as far as that shows without its data.

    Args:
        words: the overrides that it was composed of.
        here: it will be executed on this machine.

    Raises:
        UserError: with the option that is wrong.
    """
    check_arguments(task, config, name="lmlab train")
    check_name(config["name"])
    if config["stages"] is not None:
        from lmlab.commands import stages

        stages.check_options(stages.compose(config["stages"], words), here)
    else:
        check_run(located({key: value for key, value in config.items() if key not in NOT_OF_A_RUN}), here)


NOT_OF_A_RUN = ("sweep", "study", "stages")
"""Sections of a command that are no part of what a run is."""


def check_run(config: Config, here: bool = True) -> None:
    """Refuse a run's configuration that cannot be trained, as far as that shows without its data; see check_job."""
    run = existing(config)
    if run.exists and run.status_recorded == "finished":  # it was checked then
        return
    check_sections(config)
    warm_up()  # while the rest of the configuration is checked
    from lmlab.training.preflight import check_options

    check_options(config, here)


def _taken(sweep: Sweep, number: int) -> set[Path]:
    """The directories of a sweep's other jobs."""
    return {job.run.path for job in sweep.jobs if job.number != number and job.path is not None}


def compute(
    config: Config,
    *,
    rerun: bool = False,
    choices: dict[str, str] | None = None,
    stage: str | None = None,
    parent: Run | None = None,
) -> Run:
    """Return the finished run of ``config``: as it is recorded, resumed, or trained from the start.

    Args:
        rerun, choices, stage, parent: see :func:`prepare`.

    Raises:
        UserError: the configuration cannot be trained; nothing is left behind.
        RunFailed: the training failed; the directory says why, and asking again resumes it.
        Interrupted, KeyboardInterrupt: it was told to stop; asking again resumes it.
    """
    settings = Execution.of(config)
    if config["trainer"].get("nodes") != 1 or settings.node > 0:  # else a recorded result is returned without torch
        validate(config["trainer"], "trainer")
        ranks = ranks_of(config["trainer"], settings)
        if ranks.node > 0:
            return accompany(config, ranks, settings.grace, rerun)
    run = prepare(config, rerun=rerun, choices=choices, stage=stage, parent=parent)
    if run.status_recorded != "finished":
        if run.checkpoints.exists():
            tables.say("goes on from its last checkpoint", run.path.name)
        execute(run, lambda owner: tables.say(f"{run.path.name} is being computed by {owner}; waiting for it"))
    return run


def accompany(config: Config, ranks: Ranks, grace: float, rerun: bool) -> Run:
    """Be a node of the run of ``config`` other than the first, which lays it out, and return it when it is finished."""

    def wanted() -> Run:
        run = existing(config)
        return next_copy(config) if rerun and run.exists and run.status_recorded == "finished" else run

    run = wanted()
    if not run.exists or run.status not in ("finished", "running"):
        tables.say(f"waiting for the first node to begin {run.path.name}", f"node {ranks.node}:")
    while not run.exists:
        time.sleep(0.5)
        run = wanted()
    if own_sources(config) == trust.read_code(run.code) and own_targets(config) == own_targets(run.config):
        trust.vouch(run)  # without a home folder there is no key to know it by
    follow(run, ranks, grace)
    return run


def prepare(
    config: Config,
    *,
    rerun: bool = False,
    sweep_name: str | None = None,
    choices: dict[str, str] | None = None,
    here: bool = True,
    taken: Collection[Path] = (),
    stage: str | None = None,
    parent: Run | None = None,
) -> Run:
    """Return the directory of ``config``, ready to be executed, or finished already.

    Args:
        rerun: another one beside a finished one.
        sweep_name: the sweep that asks for it.
        choices: the option chosen of every group, recorded to find runs by.
        here: it will be executed on this machine.
        taken: directories that a repetition may not have: they belong to other jobs of the sweep.
        stage: the name of the stage of an experiment that it is.
        parent: with ``rerun``, the run to begin with, in the place of the one that ``config`` names.

    Raises:
        UserError: the configuration cannot be trained; nothing is left behind.
    """
    run = earlier = existing(config)
    if run.exists and run.status_recorded == "finished":
        if not rerun:
            results.say_recorded(run, config)
            hand_to_agent(run, config)
            return run
        run = next_copy(config, taken)
    elif rerun and run.path.absolute() in taken:
        run = next_copy(config, taken)
    check_sections(config)
    warm_up()  # while the rest of the configuration is checked
    from lmlab.training.preflight import check

    task = check(config, here, run=earlier if earlier.exists else None)
    _say_notes(task.notes)
    config = with_size(config, task.tokenizer.size, earlier)
    if run.exists:
        check_data(run, task.fingerprint)
        run.refresh(config)
        return run
    fields: dict[str, Any] = {"data": task.describe(), "sweep": sweep_name, "choices": choices or {}}
    if own := replaced(choices or {}):
        fields["own_options"] = own
    if stage is not None:
        fields["stage"] = stage
    if parent is not None:
        config = config | {"start": config["start"] | {"directory": str(parent.path.absolute())}}
        fields |= parent_of(config, task)
    elif Start.of(config).run is not None:
        fields |= {**parent_of(config, task, earlier), "earlier": earlier}
    while not run.exists:
        with undisturbed():  # a signal leaves it whole
            lock = run.try_lock()
            if lock is not None:
                try:
                    if not run.exists:  # or somebody else has just laid it out
                        create(run, config, **fields)
                finally:
                    lock.release()
        if lock is None:  # another process is creating it now
            time.sleep(0.05)
    return run


def parent_of(config: Config, task: "Task", earlier: Run | None = None) -> dict[str, Any]:
    """Return what a run records of the one that it begins with, and the tokens that both have; say which run it is.

    Args:
        earlier: the directory of ``config``; where it exists, the parent is not needed any more.

    Raises:
        UserError: it cannot begin with that run.
    """
    from lmlab.training import start  # imports Lightning

    shared: dict[int, int] | None = None
    if earlier is not None and earlier.exists:
        recorded: dict[str, Any] = earlier.manifest["start"]
    else:
        recorded, shared = start.check(config, task)
    order = "behind those of it" if recorded["position"] else "from the start of their order"
    what = f"begins with {recorded['run']} after {recorded['tokens']:,} tokens; its batches come {order}"
    tables.say(what, f"{config['name']}:")
    if (overlap := recorded.get("embeddings")) is not None:
        copied = f"{overlap['shared']:,} of {overlap['of']:,} tokens have the embeddings that they have there"
        tables.say(f"{copied}, those of the others are drawn", "start.embeddings=overlap:")
    return {"start": recorded, "shared": shared}


def _say_notes(notes: tuple[str, ...]) -> None:
    """Print what a user should read about the data, once however many runs of a sweep read them."""
    for note in notes:
        if note not in _said:
            _said.add(note)
            tables.say(note)


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


def create(
    run: Run, config: Config, earlier: Run | None = None, shared: dict[int, int] | None = None, **fields: Any
) -> None:
    """Lay out a new run directory, with where it comes from.

    Args:
        earlier: another run of ``config``, which holds what both begin with; it need not exist.
        shared: the tokens that it has in common with its parent, where others differ.
    """
    origin = provenance(config)
    suffix = run.path.name.removeprefix(f"{config['name']}-")
    _, diff = git_state()
    if fields.get("start"):
        from lmlab.training import start

        try:
            start.put(run, config, earlier, shared)
        except BaseException:
            remove(run.start)
            raise
    run.create(config, suffix, diff, provenance=origin, **fields)
