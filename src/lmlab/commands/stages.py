"""Stages of an experiment: successive runs that may start from earlier ones.

The section ``stages`` of a configuration has a list of overrides for each stage, in order. A stage is an ordinary run.
Its configuration is composed from the overrides of the command line followed by those of the stage, and ``start.run``
may name an earlier stage. ``stages.<stage>.<option>=value`` changes an option of one stage (see
:func:`lmlab.config.overrides.read`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from lmlab.analysis.records import Record
from lmlab.commands import results, tables
from lmlab.commands.hints import checked_choices, explain
from lmlab.commands.located import located
from lmlab.commands.train import NOT_OF_A_RUN, check_run, compute, main
from lmlab.config.canonical import canonical
from lmlab.config.check import check_arguments
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config, at
from lmlab.config.options import check_name, choices_of
from lmlab.config.overrides import STAGE_OPTIONS, STAGE_VALUE, is_several, option_of, read, written
from lmlab.errors import UserError, nearest, prefixed
from lmlab.numerals import compact
from lmlab.runs.lookup import copies, existing, repetition
from lmlab.runs.run import Run
from lmlab.runs.start import ancestors
from lmlab.wandb.mirror import under_agent

NOT_OF_A_STAGE = ("experiment", "paths", "stages", "study", "sweep", "hydra", "rerun")
"""Options of the whole command."""


@dataclass(frozen=True)
class Stage:
    """Stage with a composed configuration.

    Attributes:
        name: the name of the stage.
        config: its configuration; ``start.run`` is the identity of the run from which it starts.
        choices: the chosen option of every group.
        parent: the earlier stage from which it starts, if any.
    """

    name: str
    config: Config
    choices: dict[str, str]
    parent: "Stage | None" = None

    @property
    def experiment(self) -> Experiment:
        """The configuration as an experiment. Raises ``UserError`` for a wrong option."""
        return Experiment.of(self.config)

    @property
    def run(self) -> Run:
        """Its run directory, which need not exist."""
        return existing(self.config)


def words_of(section: Any) -> dict[str, list[str]]:
    """Return the overrides of each stage that the section ``stages`` declares.

    Raises:
        UserError: the section or a stage has the wrong form.
    """
    if not isinstance(section, Mapping):
        raise UserError(f"stages={written(section)}: expected lists of overrides by the names of the stages")
    changes = section.get(STAGE_OPTIONS) or {}
    stages = {str(name): words for name, words in section.items() if name != STAGE_OPTIONS}
    if not stages:
        name, options = next(iter(changes.items()))
        word = next(_changed(options))
        raise UserError(f"stages.{name}.{word}: there are no stages (an experiment declares them)")
    for name in changes:
        if name not in stages:
            raise UserError(f"stages.{name}: no such stage{nearest(name, stages)}")
    listed = {name: _listed(name, words) for name, words in stages.items()}
    return {name: _checked(name, [*words, *_changed(changes.get(name, {}))]) for name, words in listed.items()}


def _listed(name: str, words: Any) -> list[str]:
    """Return the overrides of a stage. Raises ``UserError`` if ``words`` is no list of overrides."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(
            f"stages.{name}={written(words)}: expected a list of overrides, as [optimizer.lr=1e-4] "
            f"(stages.{name}.optimizer.lr=1e-4 changes one option of it)"
        )
    return words


def _checked(name: str, words: Sequence[str]) -> list[str]:
    """Return the overrides of a stage in Hydra's grammar. Raises ``UserError`` for options that a stage cannot set."""
    with prefixed(f"stages.{name}"):
        own = checked_choices([read(word) for word in words])
    for word in own:
        if option_of(word).replace("/", ".").partition(".")[0] in NOT_OF_A_STAGE:
            raise UserError(f"stages.{name}: {word} is for the whole command, not for one stage")
        if is_several(word):
            raise UserError(f"stages.{name}: {word} has several values; -m stages.{name}.{word} makes a sweep of them")
    return own


def _changed(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the overrides of a stage that ``stages.<stage>.<option>=value`` has set."""
    for key, value in options.items():
        if key == STAGE_VALUE:
            yield f"{prefix}={written(value)}"
        else:
            key = key.replace("$", "/")
            yield from _changed(value, f"{prefix}.{key}" if prefix else key)


def compose(section: Any, words: Sequence[str], trains: bool = True) -> list[Stage]:
    """Return the stages that the section ``stages`` declares, in order.

    Args:
        words: overrides of the command, which apply to every stage.
        trains: the command is ``lmlab train``, whose runs are identified.

    Raises:
        UserError: a stage cannot be composed, starts from no earlier stage, or an option has no effect in any.
    """
    if under_agent():
        raise UserError("wandb agent announces one run at a time: expected an experiment without stages")
    own = words_of(section)
    _check_effect(words, own)
    stages: dict[str, Stage] = {}
    for name, of_stage in own.items():
        with prefixed(f"stages.{name}"):
            config, choices = _composed([*words, *of_stage])
            parent = _parent(config, name, stages, own)
            if trains:
                config = _identified(config, parent, stages)
        stages[name] = Stage(name, config, choices, parent)
    return list(stages.values())


def _check_effect(words: Sequence[str], own: Mapping[str, list[str]]) -> None:
    """Refuse an option of the command that every stage overrides, and ``start.run``. Raises ``UserError``."""
    options = [{option_of(word) for word in of_stage} for of_stage in own.values()]
    for word in words:
        option, value = option_of(word), word.partition("=")[2]
        if option == "start.run" and value != "null":
            raise UserError(f"{word}: each stage sets its own (stages.{next(iter(own))}.{word})")
        if all(option in of_stage for of_stage in options):
            decided = " and ".join(f"stages.{name}" for name in own)
            raise UserError(f"{word}: decided by {decided} (stages.{[*own][-1]}.{word} changes one of them)")


def _composed(words: list[str]) -> tuple[Config, dict[str, str]]:
    """Compose the current command with other overrides; return configuration and choices. Raises ``UserError``."""
    before: Any = HydraConfig.instance().cfg
    try:
        composed = GlobalHydra.instance().config_loader().load_sweep_config(before, words)
        HydraConfig.instance().set_config(composed)
        with open_dict(composed):
            del composed["hydra"]
        config = canonical(composed)
        return config, choices_of(at(config, "model.pattern"))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, "train", words)) from error
    finally:
        HydraConfig.instance().cfg = before


def _parent(config: Config, name: str, stages: Mapping[str, Stage], own: Mapping[str, Any]) -> Stage | None:
    """Return the earlier stage that ``start.run`` of the stage ``name`` names; ``None`` if it names none.

    Raises:
        UserError: it names the stage itself or a later one.
    """
    run = at(config, "start.run")
    if run in own and run not in stages:
        which = "the stage itself" if run == name else "a later stage"
        earlier = f" (choose one of: {', '.join(stages)})" if stages else " (there is no earlier one)"
        raise UserError(f"start.run={run}: is {which}; expected an earlier one{earlier}")
    return None if run is None else stages.get(run)


def _identified(config: Config, parent: Stage | None, stages: Iterable[str]) -> Config:
    """Return a stage's configuration as the configuration of a run.

    Args:
        stages: the names of the earlier stages.

    Raises:
        UserError: it is no configuration of a run, or starts from neither a stage nor a run.
    """
    check_arguments(main, config, name="lmlab train")
    config = {key: value for key, value in config.items() if key not in NOT_OF_A_RUN}
    if parent is not None:
        return located(config, parent.config)
    try:
        return located(config)
    except UserError as error:
        if not str(error).startswith(begin := f"start.run={config['start']['run']}: neither "):
            raise
        raise UserError(f"{begin}an earlier stage nor a run{nearest(config['start']['run'], stages)}") from error


def due(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages whose runs are required, in order.

    These are the stages from which no other stage starts, and those from which a stage without a run starts.
    """
    names = set()
    for stage in reversed(stages):
        children = [other for other in stages if other.parent is stage]
        if not children or any(child.name in names and not child.run.exists for child in children):
            names.add(stage.name)
    return [stage for stage in stages if stage.name in names]


def check_options(stages: Sequence[Stage], here: bool = True) -> None:
    """Refuse stages if one of them cannot be trained, as far as can be checked without data. Raises ``UserError``.

    Args:
        here: the runs will be executed on this machine.
    """
    for stage in stages:
        with prefixed(f"stages.{stage.name}"):
            check_name(stage.experiment.name)
            check_run(stage.config, here)
            if stage.parent is not None and not stage.run.exists:
                from lmlab.training.start import check_stage_options

                check_stage_options(stage.experiment, stage.parent.experiment, stage.parent.name)


def check(stages: Sequence[Stage], here: bool = True) -> None:
    """Refuse stages if one of them cannot be trained, before the first is. Raises ``UserError``.

    Args:
        here: the runs will be executed on this machine.
    """
    begun = [stage for stage in stages if stage.run.exists]
    pending = [stage for stage in due(stages) if stage not in begun]
    check_options(pending, here)
    if not any(stage.parent is not None and not stage.parent.run.is_finished for stage in pending):
        return  # each stage is checked by itself when it is prepared
    from lmlab.training import preflight, start

    for stage in pending:
        with prefixed(f"stages.{stage.name}"):
            opened = preflight.check(stage.config, here)
            if stage.parent is not None and not stage.parent.run.is_finished:
                start.check_stage(stage.experiment, opened, stage.parent.experiment, stage.parent.name)


def repeated(stages: Sequence[Stage], taken: Collection[Path] = (), sweep: str | None = None) -> dict[str, Run]:
    """Return the finished runs that belong to an unfinished repetition of the stages, by stage.

    A run that has begun keeps its initial weights, so the runs that it began with belong to the same repetition.

    Args:
        taken: directories of other jobs of a sweep, whose last stages are their own.
        sweep: the name of the sweep; the runs that it has created for one job are those of all.
    """
    runs: dict[str, Run] = {}
    for stage in stages[:-1] if sweep is not None else ():
        for run in copies(stage.config):
            if run.manifest.get("sweep") == sweep and run.is_finished:
                runs[stage.name] = run
    for stage in stages:
        run = repetition(stage.config, taken if stage is stages[-1] else ())
        if run.exists:
            lineage = iter(reversed(ancestors(run)))
            while (stage.parent is not None) and (begun := next(lineage, None)) is not None:
                stage = stage.parent
                runs[stage.name] = begun
    return runs


def compute_all(section: Any, words: Sequence[str], rerun: bool) -> dict[str, Run]:
    """Compute the missing runs of all stages in order, and return the runs that exist then, by stage.

    Args:
        section: ``stages`` of the configuration.
        words: overrides of the command.
        rerun: compute finished stages again, each from the repetition of the stage that it starts from.

    Raises:
        As :func:`lmlab.commands.train.compute`.
    """
    stages = compose(section, words)
    check(stages)
    runs = repeated(stages) if rerun else {}
    for number, stage in enumerate(stages, 1):
        where = f"stage {number} of {len(stages)}, {stage.name}:"
        if rerun:
            if stage.name in runs:
                tables.say(f"{runs[stage.name].path.name} is finished", where)
                continue
            tables.say(repetition(stage.config).path.name, where)
            parent = None if stage.parent is None else runs[stage.parent.name]
            runs[stage.name] = compute(stage.config, rerun=True, choices=stage.choices, stage=stage.name, parent=parent)
        elif stage is stages[-1]:
            tables.say(stage.run.path.name, where)
            compute(stage.config, choices=stage.choices, stage=stage.name)
        elif stage.run.is_finished:
            tables.say(f"{stage.run.path.name} is finished", where)
        elif stage in due(stages):
            tables.say(stage.run.path.name, where)
            compute(stage.config, choices=stage.choices, stage=stage.name)
        else:
            tables.say(f"{stage.run.path.name} is gone, and no stage needs it any more", where)
    runs = {stage.name: runs.get(stage.name, stage.run) for stage in stages}
    return {name: run for name, run in runs.items() if run.exists}


def show(runs: Mapping[str, Run]) -> None:
    """Print the initial weights and the result of each stage."""
    rows = []
    for stage, run in runs.items():
        row = results.summary(Record.of(run))
        rows.append(
            {
                "stage": stage,
                "run": run.path.name,
                "begins with": at(run.manifest, "start.run") or "",
                "tokens": compact(row["tokens"]),
                "tokens in all": compact(row["tokens_in_all"]),
                "loss (nats/token)": "" if row["loss"] is None else f"{row['loss']:.4f}",
            }
        )
    tables.print_table("Stages", rows)
