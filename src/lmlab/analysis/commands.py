"""Command lines about runs: those that started them, and variants with other options."""

import re
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from lmlab.analysis.comparison import Comparison, evaluate_command
from lmlab.analysis.records import Record
from lmlab.config.nodes import at
from lmlab.config.overrides import as_typed, is_addition, option_of
from lmlab.errors import UserError
from lmlab.sweeps.sweep import Sweep


def command_of(run: Record) -> str | None:
    """Return the command that started a run: that of its sweep, or its own; ``None`` if not recorded."""
    if (sweep := _sweep_of(run)) is not None:
        return sweep.command
    words = _own_words(run)
    if not words:
        return None
    return shlex.join(["lmlab", "reproduce" if _is_reproduction(words) else "train", *words])


def report_with(comparison: Comparison, *options: str, without: Sequence[str] = ()) -> str:
    """Return the report command of a comparison, with other options, and without some."""
    return shlex.join(_with([word for word in comparison.command if option_of(word) not in without], options))


def train_with(comparison: Comparison, runs: Sequence[Record], *options: str, without: Sequence[str] = ()) -> list[str]:
    """Return commands that train the configurations of ``runs`` with other options; finished runs are not repeated.

    Runs of a study share the study's command, which covers all of its arms. Configurations that differ in the value of
    one option share a command.

    Args:
        options: ``key=value``, or ``key=a,b`` for several values.
        without: options to leave out.
    """
    commands: dict[str, list[list[str]]] = {}
    for run in runs:
        sweep = _sweep_of(run) if comparison.study is not None else None
        words = [as_typed(word) for word in sweep.definition["command"]] if sweep is not None else _words_of(run)
        if words is None or _is_reproduction(words):
            continue
        start = "" if (folder := _folder_of(run)) is None else f"cd {shlex.quote(folder)} && "
        program = "study" if sweep is not None else "train"
        own = options if comparison.study is not None else [_of_stage(run, option) for option in options]
        changed = _with([word for word in words if option_of(word) not in without], own)
        if changed not in (of_program := commands.setdefault(f"{start}lmlab {program}", [])):
            of_program.append(changed)
    return [
        f"{program} {shlex.join(_as_sweep(words) if program.endswith('train') else words)}"
        for program, alternatives in commands.items()
        for words in _merged(alternatives)
    ]


def train_again(comparison: Comparison, runs: Sequence[Record], *options: str) -> list[str]:
    """Return the commands that remove runs and train them again.

    Outside a study, a report does not count a repetition in place of its run, so the run is removed first.
    """
    if comparison.study is not None:
        return train_with(comparison, runs, *options, "rerun=true")
    commands = train_with(comparison, runs, *options)
    removal = ["lmlab", "clean", "what=runs", f"runs={','.join(run.reference for run in runs)}", *_places(comparison)]
    return [shlex.join(removal), *commands] if commands else []


def score_with(comparison: Comparison, runs: Iterable[Record], split: str) -> str:
    """Return the command that scores runs on a split."""
    return shlex.join([*shlex.split(evaluate_command(runs, split)), *_places(comparison)])


def _of_stage(run: Record, option: str) -> str:
    """Return a run's option as the command of its experiment names it; seeds apply to all stages."""
    stage = run.manifest.get("stage")
    return option if stage is None or option_of(option) in ("seed", "rerun") else f"stages.{stage}.{option}"


def _places(comparison: Comparison) -> list[str]:
    """Return the options of the report's command that name directories (``paths.*``)."""
    return [word for word in comparison.command if option_of(word).startswith("paths.")]


def _with(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the words of a command with ``options`` in place of earlier values of the same options.

    Of several values of an option the last one remains, which is the one that counted.
    """
    changed = {option_of(option) for option in options}
    kept: list[str] = []
    for word in reversed(words):
        if word.startswith("-"):
            kept.append(word)
        elif option_of(word) not in changed:
            kept.append(word)
            changed |= set() if is_addition(word) else {option_of(word)}
    return [*reversed(kept), *options]


def _merged(commands: Sequence[list[str]]) -> list[list[str]]:
    """Merge commands that differ in the value of one option into one that lists all values, option by option."""
    merged = [[*words] for words in commands]
    for place in range(max(map(len, merged), default=0)):
        alike: dict[tuple[str, ...], list[list[str]]] = {}
        for words in merged:
            mark = option_of(words[place]) if place < len(words) and _is_plain(words[place]) else " ".join(words)
            alike.setdefault((mark, *words[:place], "", *words[place + 1 :]), []).append(words)
        merged = [
            some[0] if len(some) == 1 else [*some[0][:place], _joined(some, place), *some[0][place + 1 :]]
            for some in alike.values()
        ]
    return merged


def _is_plain(word: str) -> bool:
    """Return whether a word gives an option one or several values that need no quoting."""
    return re.fullmatch(r"[\w.@/]+=[\w.,+-]+", word) is not None


def _joined(commands: Sequence[list[str]], place: int) -> str:
    option = commands[0][place].partition("=")[0]
    return f"{option}={','.join(words[place].partition('=')[2] for words in commands)}"


def _as_sweep(words: list[str]) -> list[str]:
    """Put ``-m`` before the words if one of them has several values."""
    several = any(_has_several(word.partition("=")[2]) for word in words if not word.startswith("-"))
    return words if not several or "-m" in words else ["-m", *words]


def _has_several(value: str) -> bool:
    depth = 0
    for sign in value:
        depth += (sign in "[{(") - (sign in "]})")
        if sign == "," and depth == 0:
            return True
    return False


def _words_of(run: Record) -> list[str] | None:
    """Return the arguments of ``lmlab train`` for one run alone; ``None`` if not recorded."""
    sweep = _sweep_of(run)
    if sweep is None:
        return _own_words(run) or None
    own = next((job.overrides for job in sweep.jobs if job.path is not None and Path(job.path) == run.run.path), None)
    if own is None:
        return None
    flags = [word for word in sweep.definition["command"] if word.startswith("-") and word not in ("-m", "--multirun")]
    return [*flags, *map(as_typed, own)]


def _own_words(run: Record) -> list[str]:
    words = [as_typed(word) for word in at(run.manifest, "provenance.command") or ()][1:]
    return words[1:] if words[:1] == ["train"] else words


def _is_reproduction(words: Sequence[str]) -> bool:
    return any(option_of(word) == "run" for word in words)


def _folder_of(run: Record) -> str | None:
    """Return the directory in which a run was started, if it exists and is not the current one; else ``None``."""
    folder = at(run.manifest, "provenance.directory")
    if not folder or not Path(folder).is_dir() or Path(folder).resolve() == Path.cwd():
        return None
    return str(folder)


def _sweep_of(run: Record) -> Sweep | None:
    """Return the sweep that started a run; ``None`` if there was none, it was deleted, or the run was moved."""
    name = run.manifest.get("sweep")
    return _readable(run.run.path.absolute().parents[1] / "sweeps" / str(name)) if name else None


@cache
def _readable(folder: Path) -> Sweep | None:
    sweep = Sweep(folder)
    try:
        _ = sweep.command
    except (UserError, OSError, KeyError):
        return None
    return sweep
