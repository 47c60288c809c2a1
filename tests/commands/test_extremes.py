"""Every option of every command, at values that nobody means."""

import copy
import importlib
import inspect
import itertools
import math
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml
from synthetic_runs import write_run

from lmlab.cli import COMMANDS
from lmlab.config import CONF, check_arguments, leaves, set_at
from lmlab.errors import UserError
from lmlab.overrides import TEXTS
from lmlab.runs.execution import Execution
from lmlab.sweeps.study import Study
from lmlab.targets import resolve_target, targets

NUMBERS = (-(10**30), -1, 0, 10**30, 2**63, -1e308, 1e308, 1e-320, math.inf, -math.inf, math.nan)
LONG = "x" * 300


def hints(function: Any) -> dict[str, Any]:
    return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)


def options() -> Iterator[tuple[str, Any]]:
    """Every option that some signature has, with its type: of commands, of targets in ``conf/``, of plain sections."""
    for command in COMMANDS:
        yield from hints(importlib.import_module(f"lmlab.commands.{command}").task).items()
    for section, function in (("execution", Execution), ("study", Study)):
        yield from ((f"{section}.{name}", hint) for name, hint in hints(function).items())
    for path in sorted(CONF.glob("*/**/*.yaml")):
        text = path.read_text(encoding="utf-8")
        group = str(path.parent.relative_to(CONF)).replace("/", ".")
        package = text.split("# @package ", 1)[1].split("\n")[0].strip() if "# @package " in text else group
        content = yaml.safe_load(text) or {}
        if group == "hydra.launcher":
            content = {"_target_": content["engine"]}
        for target, _, where in targets(content, "" if package == "_global_" else package):
            if not target.startswith("hydra_plugins"):
                yield from ((f"{where}.{name}", hint) for name, hint in hints(resolve_target(target, where)).items())


def is_text(hint: Any) -> bool:
    """Whether a type is one of texts only: a text, a list of them, or either, or null."""
    several = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = set(typing.get_args(hint)) if several else {hint}
    return bool(members - {type(None)}) and members <= {str, list[str], Sequence[str], type(None)}


def test_options_that_are_texts_are_read_as_texts():
    supplied = ("return", "where", "architecture")
    found = {name: hint for name, hint in options() if is_text(hint) and name.rpartition(".")[2] not in supplied}
    missing = {name for name in found if name not in TEXTS}
    assert not missing


def numeric(config: dict[str, Any]) -> list[str]:
    return [key for key, value in leaves(config) if isinstance(value, (int, float)) and not isinstance(value, bool)]


def refused(call: Any) -> str | None:
    """The line that a call is refused with; ``None`` if it is not."""
    try:
        call()
    except UserError as error:
        assert str(error).strip() and len(str(error).splitlines()) == 1, error
        return str(error)
    return None


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_numbers_of_a_run_at_their_extremes_are_refused_in_one_line_or_taken(model, compose):
    from lmlab.commands.train import located, task
    from lmlab.training.preflight import check

    overrides = ["data=parity", f"model={model}", "trainer=cpu", "trainer.threads=1", "progress=false"]
    values, unforeseen = itertools.cycle(NUMBERS), []
    composed = compose(*overrides)
    for key in numeric(composed):
        for value in itertools.islice(values, 3):
            config = copy.deepcopy(composed)
            set_at(config, key, value)

            def call(config: Any = config) -> None:
                check_arguments(task, config)
                check(located({name: section for name, section in config.items() if name not in ("sweep", "study")}))

            try:
                refused(call)
            except Exception as error:
                unforeseen.append(f"{key}={value}: {type(error).__name__}: {str(error).splitlines()[0]}")
    assert not unforeseen


@pytest.mark.slow
@pytest.mark.parametrize("command", ["runs", "report", "sweep", "evaluate", "generate", "reproduce", "wandb"])
def test_texts_and_paths_that_are_too_long_are_refused_in_one_line(command, compose, tmp_path, lmlab):
    write_run(tmp_path / "outputs" / "runs", "model=lstm")
    task = importlib.import_module(f"lmlab.commands.{command}").task
    names = [name for name, hint in hints(task).items() if is_text(hint) and name != "return"]
    for name in names:
        done = lmlab(command, f"{name}={LONG}", check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) <= 1, done.stderr


@pytest.mark.parametrize("option", ["data.paths", "name", "logger.wandb.notes", "callbacks.samples.prompt"])
def test_bytes_that_are_no_text_are_refused_in_one_line(option, lmlab):
    done = lmlab("train", f"{option}=a\udcffb", check=False)
    assert done.stderr == f"lmlab train: {option}=a\\udcffb: is not valid UTF-8\n"
