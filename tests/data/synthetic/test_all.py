"""What holds for every generated task that conf/data offers."""

import importlib
import inspect
from typing import Any

import numpy as np
import pytest
import yaml

from lmlab.config.canonical import CONF
from lmlab.config.check import check_arguments
from lmlab.data.synthetic import NOT_SCORED, Generator
from lmlab.errors import UserError


def options_of(name: str) -> dict[str, Any]:
    """The options of a file of conf/data, on top of those of the files that it starts from."""
    own = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    bases = [default for default in own.pop("defaults", []) if isinstance(default, str) and default != "_self_"]
    found: dict[str, Any] = {}
    for base in bases:
        found |= options_of(base)
    return found | own


def tasks() -> dict[str, tuple[type[Generator], dict[str, Any]]]:
    """The class and the options of every file of conf/data whose target is a task."""
    found = {}
    for path in sorted((CONF / "data").glob("*.yaml")):
        options = options_of(path.stem)
        module, _, name = options.pop("_target_").rpartition(".")
        target = getattr(importlib.import_module(module), name)
        if isinstance(target, type) and issubclass(target, Generator):
            found[path.stem] = target, options
    return found


TASKS = tasks()
VARIANTS = {
    **TASKS,
    "parity, last": (TASKS["parity"][0], {"answers": "last"}),
    "permutations, last": (TASKS["permutations"][0], {"answers": "last", "degree": 3}),
    "modular arithmetic, last": (TASKS["modular_arithmetic"][0], {"answers": "last", "modulus": 7}),
    "recall, zeros": (TASKS["recall"][0], {"filling": "zero", "pairs": 2, "vocabulary": 7}),
    "copying, delayed": (TASKS["copying"][0], {"alphabet": 8, "copied": 10, "delayed": True}),
    "copying, delayed, of any length": (TASKS["copying"][0], {"delayed": True}),
    "copying, of one length": (TASKS["copying"][0], {"copied": 5}),
    "dyck, flat": (TASKS["dyck"][0], {"kinds": 2, "depth": 1}),
    "fuzzy, small": (TASKS["fuzzy_in_context_recall"][0], {"key_size": 1, "value_size": 2, "vocabulary": 5}),
}


@pytest.fixture(params=VARIANTS)
def task(request) -> Generator:
    kind, options = VARIANTS[request.param]
    return kind(**options)


def test_there_are_the_tasks_that_are_promised():
    assert set(TASKS) >= {
        *("recall", "selective_copying", "induction_heads", "copying", "reversal", "dyck", "parity"),
        *("modular_arithmetic", "modular_arithmetic_brackets", "permutations", "mad_selective_copying"),
        *("in_context_recall", "noisy_in_context_recall", "fuzzy_in_context_recall", "compression", "memorization"),
    }


@pytest.mark.parametrize("option", TASKS)
def test_its_file_lists_all_options_with_their_comments(option):
    kind, options = TASKS[option]
    check_arguments(kind, options, "data.")
    assert list(options) == list(inspect.signature(kind).parameters)
    lines = (CONF / "data" / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    assert all("  # " in line for line in lines if line.split(":")[0] in options)
    assert kind(**options).longer == 4


def test_it_composes_with_the_tokenizer_of_symbols(compose):
    config = compose("data=permutations")
    assert config["tokenizer"] == {"_target_": "lmlab.data.tokenizers.Symbols", "size": None}


def least(task: Generator) -> int:
    """The least length that the task accepts: its message names it, and all beyond are accepted."""
    refused = []
    for length in range(1, 130):
        try:
            task.check(length)
        except UserError as error:
            refused.append((length, str(error)))
    answer = len(refused) + 1
    assert [length for length, _ in refused] == list(range(1, answer))
    for length, message in refused:
        assert message.startswith(f"batch.context={length}: expected at least {answer}, for ")
    return answer


def test_every_length_that_is_accepted_gives_sequences_of_the_right_form(task):
    random, shortest = np.random.default_rng(1), least(task)
    for length in [*range(shortest, shortest + 12), 64, 65]:
        inputs, targets = task.generate(random, 50, length)
        for array in (inputs, targets):
            assert array.shape == (50, length)
            assert array.dtype == np.int64
            assert array.max() < task.vocabulary
        assert inputs.min() >= 0
        assert targets.min() >= NOT_SCORED == -1
        assert (targets != NOT_SCORED).any(axis=1).all()


def test_draws_depend_on_the_generator_alone(task):
    def drawn(seed: int) -> list[list[int]]:
        random = np.random.default_rng(seed)
        return [array.tolist() for array in (*task.generate(random, 7, 96), *task.generate(random, 7, 96))]

    first = drawn(3)
    assert first == drawn(3) != drawn(4)
    assert first[:2] != first[2:]


def test_all_symbols_are_used(task):
    inputs, targets = task.generate(np.random.default_rng(0), 4000, 64)
    unused = np.setdiff1d(np.arange(task.vocabulary), np.union1d(inputs, targets))
    assert len(unused) == (task.name == "memorization")  # there is one value more than keys


def test_no_row_is_like_another(task):
    inputs, _ = task.generate(np.random.default_rng(0), 16, 64)
    assert len(np.unique(inputs, axis=0)) > 8


@pytest.mark.parametrize("longer", [1, 0, -4])
def test_longer_sequences_are_longer(longer):
    for kind, options in TASKS.values():
        with pytest.raises(UserError, match=rf"data\.longer={longer}: expected at least 2"):
            kind(**{**options, "longer": longer})
        assert kind(**{**options, "longer": None}).longer is None
