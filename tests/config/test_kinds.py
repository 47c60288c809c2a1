"""Kinds and the options that there are: base classes, and what constructors are given."""

import importlib
import inspect

import pytest
import yaml

from lmlab.config import options
from lmlab.config.kinds import KINDS, kind_of, supplied_at
from lmlab.config.targets import named_parameters

OPTIONS = [(kind, option) for kind in KINDS if kind.group != "model" for option in options.options_of(kind.group)]


def load(name: str):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def nodes(content):
    """Every node with a target, and what of an engine its launcher names."""
    if isinstance(content, dict):
        target = content.get("engine") or content.get("_target_")
        if target:
            yield str(target), content
        else:
            for value in content.values():
                yield from nodes(value)


@pytest.mark.parametrize(("kind", "option"), OPTIONS, ids=[f"{kind.group}={option}" for kind, option in OPTIONS])
def test_an_option_is_of_its_kind_and_is_given_what_it_needs(kind, option):
    pytest.importorskip("optuna") if option == "optuna" else None
    path = options.file_of(kind.group, option)
    for target, node in nodes(yaml.safe_load(path.read_text())):
        function = load(target)
        if inspect.isclass(function) and "." in kind.base:
            assert issubclass(function, load(kind.base)), f"{target} is no {kind.base}"
        needed = {name for name, p in named_parameters(function).items() if p.default is p.empty}
        if kind.group != "hydra/launcher":
            assert needed - set(node) <= set(kind.supplied), f"{target} needs {needed - set(node) - set(kind.supplied)}"


@pytest.mark.parametrize(
    ("path", "supplied"),
    [
        ("model", {"vocabulary", "context"}),
        ("model.mixer", {"width"}),
        ("model.mixers.mamba2", {"width"}),
        ("callbacks.samples", {"run", "folder", "tokenizer", "context"}),
        ("data", set()),
        ("budget", set()),
    ],
)
def test_parameters_that_the_program_supplies_to_a_section(path, supplied):
    assert supplied_at(path) == supplied


def test_kinds_are_found_by_their_group():
    assert kind_of("mixer").base == "lmlab.models.mixers.mixer.Mixer" and kind_of("budget") is None
    assert {kind.group for kind in KINDS} <= set(options.groups())
