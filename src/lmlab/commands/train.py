"""``lmlab train``: compute the result of a configuration if it is missing, and show it; with -m, of several ones."""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from lmlab.commands import results, tables
from lmlab.commands.located import located
from lmlab.commands.wandb import hand_to_agent
from lmlab.config.check import check_arguments, validate
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config, Paths, at
from lmlab.config.options import check_name, choices_of, replaced
from lmlab.config.overrides import written
from lmlab.config.targets import own_targets
from lmlab.errors import UserError
from lmlab.processes.layout import ranks_of
from lmlab.processes.other_nodes import follow
from lmlab.processes.signals import stopped_by_signals, undisturbed
from lmlab.processes.spawn import Ranks, warm_up
from lmlab.processes.supervisor import execute
from lmlab.runs import trust
from lmlab.runs.content import own_sources
from lmlab.runs.files import remove
from lmlab.runs.lookup import existing, repetition
from lmlab.runs.provenance import git_state, provenance
from lmlab.runs.run import Run
from lmlab.sweeps.engines.engine import computes_elsewhere
from lmlab.sweeps.options import SweepOptions
from lmlab.sweeps.sweep import Sweep
from lmlab.training.sections import check_sections

if TYPE_CHECKING:
    from lmlab.data.tasks import Task

_said: set[str] = set()  # notes on data that have been printed


def main(
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
    """Train, or return the recorded result; in a sweep, prepare and return the run that the launcher executes."""
    config = dict(locals())
    del config["sweep"], config["study"], config["stages"]  # these sections are no part of a run
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN and (options := SweepOptions.read(sweep).section):
        option, value = next(iter(options.items()))
        raise UserError(f"sweep.{option}={written(value)}: there is one job; -m makes a sweep of several values")
    check_name(name)
    if hydra.mode == RunMode.MULTIRUN:  # the launcher of the sweep executes the prepared run
        here = not computes_elsewhere(hydra.launcher.engine)
        taken = _taken(Sweep(Path(hydra.sweep.dir)), hydra.job.num) if rerun else set()
        arrange = partial(prepare, sweep_name=Path(hydra.sweep.dir).name, here=here)
        if stages is not None:
            return _prepare_next(stages, arrange, taken if rerun else None, here)
        choices = choices_of(model.get("pattern"))
        return Prepared(arrange(located(config), rerun=rerun, choices=choices, taken=taken))
    if stages is not None:
        from lmlab.commands.stages import compute_all, show

        with stopped_by_signals():
            runs = compute_all(stages, hydra.overrides.task, rerun)
        show(runs)
        *_, run = runs.values()
        results.show(run)
        return run
    with stopped_by_signals():
        run = compute(located(config), rerun=rerun, choices=choices_of(model.get("pattern")))
    results.show(run)
    return run


class Prepared(NamedTuple):
    """The next run of a job of a sweep.

    Attributes:
        run: its directory.
        stage: the stage of the job's experiment, if it is the run of a stage.
    """

    run: Run
    stage: str | None = None


def _prepare_next(
    section: dict[str, Any], arrange: Callable[..., Run], taken: Collection[Path] | None, here: bool
) -> Prepared:
    """Prepare the first stage that is not finished.

    Args:
        taken: with ``rerun``, the directories of other jobs.
    """
    from lmlab.commands.stages import check, compose, due, repeated

    hydra = HydraConfig.get()
    stages = compose(section, hydra.overrides.task)
    check(stages, here)
    last = stages[-1]
    if taken is not None:
        runs = repeated(stages, taken, Path(hydra.sweep.dir).name)
        stage = next(stage for stage in stages if stage is last or stage.name not in runs)
        of_others, name = (taken, None) if stage is last else ((), stage.name)
        parent = None if stage.parent is None else runs[stage.parent.name]
        options: dict[str, Any] = {"choices": stage.choices, "stage": stage.name, "parent": parent}
        return Prepared(arrange(stage.config, rerun=True, taken=of_others, **options), name)
    for stage in due(stages):
        if stage is not last and not stage.run.is_finished:
            return Prepared(arrange(stage.config, choices=stage.choices, stage=stage.name), stage.name)
    return Prepared(arrange(last.config, choices=last.choices, stage=last.name))


def check_job(config: Config, words: Sequence[str], here: bool = True) -> None:
    """Refuse a job's composed configuration that cannot be trained, as far as can be checked without its data.

    Args:
        words: the overrides from which it was composed.
        here: the run will be executed on this machine.

    Raises:
        UserError: the message names the wrong option.
    """
    check_arguments(main, config, name="lmlab train")
    check_name(config["name"])
    if config["stages"] is not None:
        from lmlab.commands import stages

        stages.check_options(stages.compose(config["stages"], words), here)
    else:
        check_run(located({key: value for key, value in config.items() if key not in NOT_OF_A_RUN}), here)


NOT_OF_A_RUN = ("sweep", "study", "stages")
"""Sections of a command's configuration that are no part of a run's."""


def check_run(config: Config, here: bool = True) -> None:
    """Refuse a run's configuration that cannot be trained, as far as can be checked without its data; see check_job."""
    run = existing(config)
    if run.is_finished:  # it was checked before it was computed
        return
    experiment = check_sections(config)
    warm_up("wandb" in experiment.loggers)  # while the rest of the configuration is checked
    from lmlab.training.preflight import check_options

    check_options(config, here)


def _taken(sweep: Sweep, number: int) -> set[Path]:
    """Return the directories of a sweep's other jobs."""
    return {job.run.path for job in sweep.jobs if job.number != number and job.path is not None}


def compute(
    config: Config,
    *,
    rerun: bool = False,
    choices: dict[str, str] | None = None,
    stage: str | None = None,
    parent: Run | None = None,
) -> Run:
    """Return the finished run of ``config``: recorded, resumed, or trained from the start.

    Args:
        rerun, choices, stage, parent: see :func:`prepare`.

    Raises:
        UserError: the configuration cannot be trained; no files are left behind.
        RunFailed: the training failed; the run directory has the reason, and another call resumes it.
        Interrupted, KeyboardInterrupt: the run was stopped; another call resumes it.
    """
    experiment = Experiment.of(config)
    trainer, settings = experiment.trainer, experiment.execution
    if trainer.nodes != 1 or settings.node > 0:  # on one node, a recorded result needs no torch
        validate(trainer.node, "trainer")
        ranks = ranks_of(trainer, settings)
        if ranks.node > 0:
            return accompany(config, ranks, settings.grace, rerun)
    run = prepare(config, rerun=rerun, choices=choices, stage=stage, parent=parent)
    if not run.is_finished:
        if run.checkpoints.exists():
            tables.say("goes on from its last checkpoint", run.path.name)
        execute(run, lambda owner: tables.say(f"{run.path.name} is being computed by {owner}; waiting for it"))
    return run


def accompany(config: Config, ranks: Ranks, grace: float, rerun: bool) -> Run:
    """Compute the part of a node other than the first in the run of ``config``, and return the finished run.

    The first node creates the run directory.
    """
    find = repetition if rerun else existing
    run = find(config)
    if not run.exists or run.status not in ("finished", "running"):
        tables.say(f"waiting for the first node to begin {run.path.name}", f"node {ranks.node}:")
    while not run.exists:
        time.sleep(0.5)
        run = find(config)
    if own_sources(config) == trust.read_code(run.code) and own_targets(config) == own_targets(run.config):
        trust.vouch(run)  # without a home folder there is no key that identifies the run as the user's own
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
    """Return the run of ``config``, finished or ready to be executed.

    Args:
        rerun: repeat a finished run in another directory.
        sweep_name: the sweep of the run.
        choices: the chosen option of every group, recorded so that runs can be selected by it.
        here: the run will be executed on this machine.
        taken: directories of other jobs of the sweep, which a repetition may not use.
        stage: the name of its stage, if it belongs to an experiment with stages.
        parent: with ``rerun``, the run to start from instead of the one in ``config``.

    Raises:
        UserError: the configuration cannot be trained; no files are left behind.
    """
    earlier = existing(config)
    run = repetition(config, taken) if rerun else earlier
    if run.is_finished:
        results.say_recorded(run, config)
        hand_to_agent(run, config)
        return run
    experiment = check_sections(config)
    warm_up("wandb" in experiment.loggers)  # while the rest of the configuration is checked
    from lmlab.training.preflight import check

    task = check(config, here, run=earlier if earlier.exists else None)
    _say_notes(task.notes)
    if task.tokens_per_step is not None:
        _say_notes((_about_filling(task.tokens_per_step, experiment.batch.tokens),))
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
    elif at(config, "start.run") is not None:
        fields |= {**parent_of(config, task, earlier), "earlier": earlier}
    while not run.exists:
        with undisturbed():  # signals must not leave a partial directory
            lock = run.try_lock()
            if lock is not None:
                try:
                    if not run.exists:  # otherwise another process has just created it
                        create(run, config, **fields)
                finally:
                    lock.release()
        if lock is None:  # another process is creating it now
            time.sleep(0.05)
    return run


def parent_of(config: Config, task: "Task", earlier: Run | None = None) -> dict[str, Any]:
    """Return the record of the run from which ``config`` starts, and the tokens that both share; print its name.

    Args:
        earlier: the run of ``config``; if it exists, the parent is no longer needed.

    Raises:
        UserError: the run cannot start from that one.
    """
    from lmlab.training import start  # imports Lightning

    shared: dict[int, int] | None = None
    if earlier is not None and earlier.exists:
        recorded: dict[str, Any] = earlier.manifest["start"]
    else:
        recorded, shared = start.check(Experiment.of(config), task)
    order = "continue after those of that run" if recorded["position"] else "begin at the start of their order"
    line = f"starts from {recorded['run']} after {recorded['tokens']:,} tokens; its batches {order}"
    tables.say(line, f"{config['name']}:")
    if (overlap := recorded.get("embeddings")) is not None:
        copied = f"the embeddings of {overlap['shared']:,} of {overlap['of']:,} tokens are copied"
        tables.say(f"{copied}, the others are drawn at random", "start.embeddings=overlap:")
    return {"start": recorded, "shared": shared}


def _say_notes(notes: tuple[str, ...]) -> None:
    """Print notes on the data, each only once in a sweep."""
    for note in notes:
        if note not in _said:
            _said.add(note)
            tables.say(note)


def _about_filling(tokens: float, positions: int) -> str:
    """Return a note about the share of a step that rows are filled up with."""
    share = 1 - tokens / positions
    return f"batch.documents=separate: a step reads {tokens:,.1f} tokens on average, {share:.1%} of it is filling"


def with_size(config: Config, vocabulary: int, earlier: Run) -> Config:
    """Return ``config`` with the width that gives its model the requested size, if there is one, and print the width.

    Args:
        earlier: the run of ``config``; if it exists, its width is kept as long as it gives that size.

    Raises:
        UserError: no width gives that size.
    """
    from lmlab.training import sizing

    experiment = Experiment.of(config)
    model, context = experiment.model, experiment.batch.context
    if sizing.check_parameters(model) is None:
        return config
    kept = earlier.experiment.model if earlier.exists else None
    solved = kept if kept and sizing.fits(kept, vocabulary, context) else sizing.solve_width(model, vocabulary, context)
    size = f"{sizing.size_of(solved, vocabulary, context):,} {model['parameters_of']}"
    changed = [f"{key} other than {requested:.4g}" for key, requested in (solved.get("solved_from") or {}).items()]
    solution = ", ".join([f"width {solved['width']}", *changed])
    tables.say(f"{solution} ({size})", f"model.parameters={model['parameters']}:")
    return config | {"model": solved}


def check_data(run: Run, fingerprint: str) -> None:
    """Refuse to resume a run with other data. Raises ``UserError``."""
    before = run.manifest["data"]["fingerprint"]
    if fingerprint != before:
        raise UserError(
            f"{run.path}: its data have changed since it began (fingerprint {before[:12]} then, {fingerprint[:12]} "
            "now); restore them, or delete the directory to start again from the beginning"
        )


def create(
    run: Run, config: Config, earlier: Run | None = None, shared: dict[int, int] | None = None, **fields: Any
) -> None:
    """Create a new run directory with its provenance.

    Args:
        earlier: another run of ``config`` with the same initial weights; it need not exist.
        shared: the tokens in common with its parent, if the tokenizers differ.
    """
    origin = provenance(config)
    suffix = run.path.name.removeprefix(f"{config['name']}-")
    _, diff = git_state()
    if fields.get("start"):
        from lmlab.training import start

        try:
            start.put(run, Experiment.of(config).start, earlier, shared)
        except BaseException:
            remove(run.start)
            raise
    run.create(config, suffix, diff, provenance=origin, **fields)
