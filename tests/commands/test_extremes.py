"""Every option of every command, at values that nobody means."""

import copy
import functools
import importlib
import inspect
import itertools
import math
import shutil
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_runs import BY_LOSS, write_run

from lmlab.cli import COMMANDS
from lmlab.config.canonical import CONF
from lmlab.config.check import check_arguments
from lmlab.config.nodes import leaves, set_at
from lmlab.config.options import options_of
from lmlab.config.references import TEXTS
from lmlab.config.targets import resolve_target, targets
from lmlab.errors import UserError
from lmlab.processes.layout import Execution
from lmlab.sweeps.search import Space
from lmlab.sweeps.study import Study

NUMBERS = (-(10**30), -1, 0, 10**30, 2**63, -1e308, 1e308, 1e-320, math.inf, -math.inf, math.nan)
LONG = "x" * 300
EARLIER_RUN = Path(__file__).parents[1] / "end_to_end" / "version_0"


def hints(function: Any) -> dict[str, Any]:
    return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)


def options() -> Iterator[tuple[str, Any]]:
    """Every option that some signature has, with its type: of commands, of targets in ``conf/``, of plain sections."""
    for command in set(COMMANDS) - {"options"}:  # which has words, no options
        yield from hints(importlib.import_module(f"lmlab.commands.{command}").main).items()
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
    from lmlab.commands.located import located
    from lmlab.commands.train import main
    from lmlab.training.preflight import check

    overrides = ["data=parity", f"model={model}", "trainer=cpu", "trainer.threads=1", "progress=false"]
    values = itertools.cycle(NUMBERS)
    composed = compose(*overrides)

    def call(key: str, value: Any) -> None:
        config = copy.deepcopy(composed)
        set_at(config, key, value)
        check_arguments(main, config)
        check(located({name: section for name, section in config.items() if name not in ("sweep", "study")}))

    assert not unforeseen(
        (f"{key}={value}", functools.partial(call, key, value))
        for key in numeric(composed)
        for value in itertools.islice(values, 3)
    )


CHOICES = [(group, name) for group in ("model", "objective", "optimizer", "scheduler") for name in options_of(group)]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_numbers_of_a_choice_at_all_extremes_are_refused_in_one_line_or_taken_at_once(group, name, compose):
    from lmlab.commands.train import main
    from lmlab.training.preflight import check_options

    composed = compose("data=parity", f"{group}={name}", "trainer=cpu", "trainer.threads=1", "progress=false")
    composed = {section: options for section, options in composed.items() if section not in ("sweep", "study")}

    def call(key: str, value: Any) -> None:
        config = copy.deepcopy(composed)
        set_at(config, key, value)
        check_arguments(main, config)
        check_options(config)

    keys = [key for key in numeric(composed) if key.startswith(f"{group}.")]
    assert not unforeseen(
        (f"{key}={value}", functools.partial(call, key, value))
        for key, value in itertools.product(keys, (*NUMBERS, 10**8))
    )


def numbers_of(function: Any) -> list[str]:
    """Parameters that may be numbers."""
    kinds = {name: (hint, *typing.get_args(hint)) for name, hint in hints(function).items()}
    return [name for name, own in kinds.items() if int in own or float in own]


def unforeseen(cases: Iterable[tuple[str, Any]]) -> list[str]:
    """Errors of calls that are no single line for a user, by what was called."""
    errors = []
    for where, call in cases:
        try:
            refused(call)
        except Exception as error:
            errors.append(f"{where}: {type(error).__name__}: {str(error).splitlines()[0]}")
    return errors


def extremes(function: Any, arguments: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Arguments with one number at an extreme each, all extremes of all numbers."""
    for name, value in itertools.product(numbers_of(function), NUMBERS):
        yield f"{prefix}{name}={value}", copy.deepcopy(arguments) | {name: value}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A finished run with weights, below a folder of runs, and a text that it can be scored on."""
    folder = tmp_path_factory.mktemp("outputs")
    shutil.copytree(EARLIER_RUN, folder / "runs" / "lstm-text-0123456789")
    (folder / "other.txt").write_text("the cat sat on a mat " * 10, encoding="utf-8")
    return folder


OPTIONS = {
    "generate": ["run=lstm-text-0123456789", "length=2", "accelerator=cpu"],
    "evaluate": ["run=lstm-text-0123456789", "metrics=[fixed_window]", "accelerator=cpu"],
    "reproduce": ["run=lstm-text-0123456789"],
    "runs": [],
    "sweep": [],
    "report": [],
    "wandb": ["action=sync"],
    "dashboard": [],
    "describe": ["model=lstm", "model.width=16", "model.depth=1", "vocabulary=16"],
    "plan": ["model=lstm", "model.width=16", "model.depth=1", "vocabulary=16", "trainer=cpu"],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_numbers_of_a_command_at_their_extremes_are_refused_in_one_line_or_taken(
    command, finished_run, compose, monkeypatch, capsys
):
    from lmlab.commands import dashboard, plan, reproduce
    from lmlab.models import generation

    def short(*arguments: Any) -> Iterator[Any]:
        return itertools.islice(generate(*arguments), 2)

    def stop(*arguments: Any, **options: Any) -> None:
        raise UserError("begins what takes long")

    generate, load_of = generation.generate, plan.load_of
    monkeypatch.setattr(generation, "generate", short)
    loads = functools.cache(lambda vocabulary: load_of(config, vocabulary))
    monkeypatch.setattr(plan, "load_of", lambda _, vocabulary: loads(vocabulary))
    monkeypatch.setattr(reproduce, "compute", stop)
    monkeypatch.setattr(dashboard, "listen", stop)
    data = [f"data.paths={finished_run / 'other.txt'}"] if command == "evaluate" else []
    config = compose(*OPTIONS[command], *data, command=command, outputs=finished_run)
    module = importlib.import_module(f"lmlab.commands.{command}")

    def call(arguments: dict[str, Any]) -> None:
        check_arguments(module.main, arguments)
        module.main(**arguments)

    cases = [
        (where, functools.partial(call, arguments))
        for where, arguments in extremes(module.main, config)
        if not (where.startswith("samples=") and abs(arguments["samples"]) > 1)  # each of them takes its time
    ]
    assert not unforeseen(cases)


@pytest.mark.parametrize(
    ("option", "value"), [("limit", -1), ("tolerance", math.nan), ("init_timeout", -1.0), ("price", -1.0)]
)
def test_numbers_that_mean_nothing_are_refused(option, value, finished_run, compose):
    command = {"limit": "runs", "tolerance": "reproduce", "init_timeout": "wandb", "price": "plan"}[option]
    config = compose(*OPTIONS[command], command=command, outputs=finished_run)
    main = importlib.import_module(f"lmlab.commands.{command}").main
    assert f"{option}={value}: expected" in (refused(lambda: main(**config | {option: value})) or "")


@pytest.mark.parametrize("name", ["Random", "Halving", "Optuna"])
def test_numbers_of_a_search_at_their_extremes_are_refused_in_one_line_or_taken(name, tmp_path):
    if name == "Optuna":
        pytest.importorskip("optuna")
    module = "lmlab.sweeps.search" + (".optuna" if name == "Optuna" else "")
    search = getattr(importlib.import_module(module), name)
    space = Space(["model=lstm,transformer", "optimizer.lr=tag(log,interval(1e-4,1e-2))"])
    folders = itertools.count()

    def call(arguments: dict[str, Any]) -> None:
        check_arguments(search, arguments, "sweep.", supplied={"space", "folder", "measures"})
        if name == "Optuna":
            folder = tmp_path / str(next(folders))
            folder.mkdir()
            arguments = arguments | {"folder": folder, "measures": lambda: BY_LOSS}
        search(space=space, **arguments).ask()

    options = {"tokens": 1000} if name == "Halving" else {}
    cases = [(where, functools.partial(call, arguments)) for where, arguments in extremes(search, options, "sweep.")]
    assert not unforeseen(cases)


@pytest.mark.parametrize("name", ["local.Local", "slurm.Slurm", "ray.Ray"])
def test_numbers_of_an_engine_at_their_extremes_are_refused_in_one_line_or_taken(name, monkeypatch):
    module = importlib.import_module(f"lmlab.sweeps.engines.{name.partition('.')[0]}")
    engine = getattr(module, name.rpartition(".")[2])
    if name == "slurm.Slurm":
        pytest.importorskip("submitit")
        monkeypatch.setattr(module.shutil, "which", lambda program: program)
    if name == "ray.Ray":
        cluster = types.SimpleNamespace(
            nodes=lambda: [{"Alive": True, "Resources": {"CPU": 4, "GPU": 1, "memory": 1e10}}],
            remote=lambda **options: lambda function: function,
        )
        monkeypatch.setattr(module, "connect", lambda address: cluster)

    def call(arguments: dict[str, Any]) -> None:
        check_arguments(engine, arguments, "hydra.launcher.")
        engine(**arguments)

    fixed = {"address": "auto", "workers": 2} if name == "ray.Ray" else {}
    cases = extremes(engine, fixed, "hydra.launcher.")
    assert not unforeseen((where, functools.partial(call, arguments)) for where, arguments in cases)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["runs", "report", "sweep", "evaluate", "generate", "reproduce", "wandb"])
def test_texts_and_paths_that_are_too_long_are_refused_in_one_line(command, compose, tmp_path, lmlab):
    write_run(tmp_path / "outputs" / "runs", "model=lstm")
    main = importlib.import_module(f"lmlab.commands.{command}").main
    names = [name for name, hint in hints(main).items() if is_text(hint) and name != "return"]
    for name in names:
        done = lmlab(command, f"{name}={LONG}", check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) <= 1, done.stderr


@pytest.mark.parametrize("option", ["data.paths", "name", "logger.wandb.notes", "callbacks.samples.prompt"])
def test_bytes_that_are_no_text_are_refused_in_one_line(option, lmlab):
    done = lmlab("train", f"{option}=a\udcffb", check=False)
    assert done.stderr == f"lmlab train: {option}=a\\udcffb: is not valid UTF-8\n"
