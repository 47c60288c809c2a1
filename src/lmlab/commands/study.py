"""``lmlab study``: compute the missing runs of an experiment's study, and write its report."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, read_write

from lmlab.analysis.comparison import Comparison, can_be_scored, comparison_of
from lmlab.commands import launching, tables
from lmlab.commands.jobs import Composed, composed, plain
from lmlab.commands.progress_table import say_not_started
from lmlab.commands.train import main
from lmlab.config import options
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths, at
from lmlab.config.overrides import option_of
from lmlab.errors import RunFailed, UserError
from lmlab.metrics import score_of, split_of
from lmlab.numerals import counted
from lmlab.processes.signals import stopped_by_signals
from lmlab.processes.spawn import warm_up
from lmlab.sweeps.engines.engine import computes_elsewhere
from lmlab.sweeps.search.study import PILOT_STEPS, StudySearch
from lmlab.sweeps.study import BUDGETS, Study
from lmlab.sweeps.sweep import Job, Sweep

__all__ = ["conduct", "main"]  # the runs of a study are prepared by lmlab train


def conduct(sweeper: Any, words: list[str]) -> list[Job]:
    """Conduct the study of a sweeper's configuration, in a directory of its own, and write its report.

    The name of the directory depends on everything that can change a result. The same command continues the same study.

    Raises:
        UserError: there is no study, or it cannot be computed; nothing is left behind.
        RunFailed: final runs are missing; the report says which.
    """
    launching.refuse_under_agent()
    launcher, config = sweeper.launcher, sweeper.config
    if not hasattr(launcher, "node"):
        raise UserError("hydra/launcher: this launcher cannot execute lmlab's runs")
    experiment = str(config.hydra.runtime.choices.get("experiment"))
    study = Study.read(_section(config, experiment))
    if study.budget is not None and config.stages is not None:
        raise UserError("study.budget: not with stages; each stage has its own budget (stages.<stage>.budget.tokens)")
    folders = Folders.of(plain(config.paths))
    warm_up()  # while everything is checked
    from lmlab.commands.study_plan import Plan

    here = not computes_elsewhere(launcher.node["_target_"])
    lacking = Composed(launcher).lacking
    plan = Plan.of(study, words, lambda own, where: composed(launcher, own, where), here, lacking)
    if not any(word.startswith("hydra.sweep.dir=") for word in config.hydra.overrides.hydra):
        name = f"{re.sub(r'[^A-Za-z0-9_]+', '-', experiment).strip('-')}-{plan.digest}"
        with read_write(config):
            config.hydra.sweep.dir = str(folders.sweeps / name)
    check_same(Sweep(Path(config.hydra.sweep.dir)), plan.digest)
    study = plan.study
    search = StudySearch(study, plan.candidates, plan.pilots, plan.choice, study.better(plan.measures))
    say_plan(plan, search)
    record, jobs = launching.conduct(
        launcher, search, {"digest": plan.digest}, plan.words, sweeper.retry, study.section
    )
    say_not_started(jobs, record.to_come)
    refused = score_final_runs(comparison_of(record, folders.cache), plain(config.paths))
    comparison = comparison_of(record, folders.cache)
    status = tables.command("sweep", "status", f"name={record.path.name}")
    tables.say(f"{status}   ({tables.place(record.path)})", "\nThe study's runs:")
    if comparison.arms:
        from lmlab.commands.report import write_report

        write_report(comparison, {}, folders.reports / record.path.name)
    expected, finished = len(study.arms) * len(study.seeds), len(comparison.runs)
    if finished < expected:
        for left in comparison.left_out:
            tables.say(f"{left.run}: {left.why}", "left out:", "yellow")
        action = "resume" if refused else "retry"
        again = f"{tables.command('sweep', action, f'name={record.path.name}')} tries again what failed"
        raise RunFailed(f"{expected - finished} of {expected} final runs are missing ({again})")
    return jobs


def score_final_runs(comparison: Comparison, paths: Paths) -> int:
    """Score the finished final runs that have no score yet on the split of the conclusion.

    Each score is recorded immediately, as by ``lmlab evaluate``; no run is scored twice. Trials are never scored.

    Returns:
        The number of runs that cannot be scored; each is printed with the reason.
    """
    metric = comparison.metric
    split = split_of(metric)
    finals = [left.record for left in comparison.left_out if left.record and not left.is_trial]
    due = [record for record in finals if can_be_scored(record, metric)]
    if not due:
        return 0
    from lmlab.commands.evaluate import score

    refused = 0
    tables.say(f"{counted(len(due), 'final run')}, once each", f"\nScoring on the {split} split:")
    with stopped_by_signals():
        for record in due:
            try:
                threads = at(record.config, "trainer.threads")
                _, scores, _ = score(record.run, paths, split, threads=threads)
            except UserError as error:
                tables.say(f"cannot be scored: {error}", record.run.path.name, "yellow")
                refused += 1
            else:
                value = next(iter(scores.values()))[score_of(metric)]
                measures = record.measures
                tables.say(f"{measures.written(metric, value)} {measures.label(metric)}", record.run.path.name)
    return refused


def check_same(sweep: Sweep, digest: str) -> None:
    """Refuse to continue a sweep whose study is another one or has been changed. Raises ``UserError``."""
    if (sweep.path / "sweep.json").exists() and sweep.definition["search"].get("digest") != digest:
        raise UserError(
            f"{sweep.path.name}: its study has been changed since; its command starts another sweep: {sweep.command}"
        )


def say_plan(plan: Any, search: StudySearch) -> None:
    """Print the arms that are compared and the number of runs that this takes."""
    study, counts = plan.study, search.counts
    arms, seeds = len(study.arms), len(study.seeds)
    if study.question:
        tables.say(study.question, "Study:")
    tables.say(", ".join(study.arms), "Arms:")
    tables.say(", ".join(study.equal) or "nothing", "Held equal:")
    criterion, concluded = f"{plan.measures.heading(plan.choice)}{_direction(plan)}", plan.measures.heading(plan.metric)
    if counts["trial"]:
        tables.say(criterion, "Settings are chosen by:")
    if plan.metric != plan.choice:
        concluded += ", scored once for each final run"
    elif not counts["trial"]:
        concluded = criterion
    tables.say(concluded, "The conclusion is about:")
    if study.budget is not None:
        ((kind, amount),) = study.budget.items()
        tables.say(f"{amount:g} {BUDGETS[kind]} for every run, as tokens for each arm", "Budget:")
    steps = []
    if counts["pilot"]:
        steps.append(f"a pilot run of {PILOT_STEPS} steps for each of {arms} arms")
    if counts["trial"]:
        tuned, trials = " and ".join(study.tune), search.trials
        each = f"for each of {arms} arms"
        if len(set(trials.values())) > 1:
            each = "(" + ", ".join(f"{number or 'none'} for {arm}" for arm, number in trials.items()) + ")"
        number = f"{max(trials.values())} trials" if len(set(trials.values())) == 1 else "trials"
        steps.append(f"{number} of {tuned} {each} with seed {study.tuning_seed}")
    many = f"{seeds} seeds" if seeds > 1 else "one seed"
    steps.append(f"{'the best of each' if counts['trial'] else 'each'} with {many}")
    tables.say(f"{', then '.join(steps)}: {sum(counts.values())} runs, less those that exist", "Plan:")
    if only := [f"{option} only in {', '.join(having)}" for option, having in _conditional(plan).items()]:
        tables.say("; ".join(only), "Not every arm has every option:")


def _conditional(plan: Any) -> dict[str, list[str]]:
    """Return the options that only some arms have, each with the names of these arms."""
    having = {
        option: [arm for arm, (words, *_) in plan.candidates.items() if option in map(option_of, words)]
        for option in map(option_of, (*plan.words, *plan.study.tune))
    }
    return {option: arms for option, arms in having.items() if len(arms) < len(plan.candidates)}


def _direction(plan: Any) -> str:
    """Return the direction of a metric that a user's callback logs, as text for a message; empty for other metrics."""
    if plan.measures.metric(plan.choice) is not None:
        return ""
    direction = plan.study.direction or "minimize"
    other = "" if plan.study.direction else " (study.direction=maximize where more is better)"
    return f", {direction}d{other}"


def _section(config: Any, experiment: str) -> dict[str, Any]:
    """Return the section ``study`` as plain values. Raises ``UserError`` if there is none."""
    section = config.get("study")
    if section is None:
        files = {name: options.file_of("experiment", name) for name in options.options_of("experiment")}
        declaring = [name for name, path in files.items() if path is not None and _declares(path)]
        if experiment == "None":
            raise UserError(f"experiment has no value: give one that declares a study ({', '.join(declaring)})")
        raise UserError(f"experiment={experiment}: declares no study (these do: {', '.join(declaring)})")
    plain = OmegaConf.to_container(section, resolve=True)
    if not isinstance(plain, dict):
        raise UserError(f"study={plain}: expected a section with arms, seeds and more")
    return {str(key): value for key, value in plain.items()}


def _declares(path: Path) -> bool:
    return any(line.startswith("study:") for line in path.read_text(encoding="utf-8").splitlines())
