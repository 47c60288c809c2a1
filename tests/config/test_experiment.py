import inspect
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
from experiments import experiment_of
from hypothesis import given
from hypothesis import strategies as st

from lmlab.config.experiment import (
    EMA,
    MOST_TOKENS_PER_STEP,
    SCORED_PER_TRAINED,
    Batch,
    Folders,
    TrainerOptions,
    Validation,
)
from lmlab.errors import UserError
from lmlab.training.trainer import build_trainer


def test_a_step_has_tokens_that_can_be_counted():
    assert Batch(2**30, 2**10).size * 2**10 == MOST_TOKENS_PER_STEP
    with pytest.raises(UserError, match=r"^batch\.size=1073741825: expected an optimizer step of at most 1,099,"):
        Batch(2**30 + 1, 2**10)
    with pytest.raises(UserError, match=r"^batch\.context=10{30}: "):
        Batch(16, 10**30)
    with pytest.raises(UserError, match=r"^batch\.size=0: expected a whole number of at least 1"):
        Batch(0, 16)


@given(st.integers(1, 10**9), st.integers(1, 64), st.integers(1, 512), st.integers(1, 40), st.floats(0.001, 1.0))
def test_validations_before_the_last_take_their_share_of_the_training(tokens, size, context, times, share):
    experiment = experiment_of(
        batch={"size": size, "context": context},
        budget={"tokens": tokens},
        validation={"times": times, "share": share},
    )
    steps = range(experiment.validation_interval, experiment.steps, experiment.validation_interval)
    cost = len(steps) * experiment.validation_part / SCORED_PER_TRAINED
    trained = experiment.steps * experiment.batch.tokens
    assert cost <= share * trained
    assert not steps or cost >= share * trained - len(steps)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match=r"^validation\.share=.*: expected a number above 0 and at most 1, or null"):
        Validation(1, share=share)


def test_the_trainer_s_options_have_the_defaults_of_the_trainer():
    parameters = inspect.signature(build_trainer).parameters
    options = {one.name: one.default for one in fields(TrainerOptions)[1:]}
    assert options == {name: parameter.default for name, parameter in parameters.items() if name != "supplied"}


def test_an_experiment_is_read_once_and_with_options_leaves_the_first_as_it_was():
    first = experiment_of(callbacks={"ema": {"_target_": EMA}, "samples": None})
    second = first.with_options(batch={"size": 8, "context": 16})
    assert (first.batch.tokens, second.batch.tokens, second.steps) == (64, 128, 5)
    assert list(first.callbacks) == ["ema"] and first.keeps_average
    with pytest.raises(FrozenInstanceError):
        first.seed = 2
    with pytest.raises(UserError, match=r"^batch\.contxt: .*did you mean 'context'"):
        first.with_options(batch={"size": 8, "contxt": 16})


def test_folders_are_read_from_the_section_that_a_command_composes(compose, tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CORPORA", "~/corpora")
    folders = Folders.of(compose("data=parity")["paths"])
    assert folders == replace(Folders.below(tmp_path / "outputs"), corpora=Path.home() / "corpora")
    assert (folders.sweeps, folders.reports) == (tmp_path / "outputs" / "sweeps", tmp_path / "outputs" / "reports")
    assert Folders.of({"outputs": "~/a", "runs": "~/a/b", "cache": "c"}) == Folders(
        Path.home() / "a", Path.home() / "a" / "b", Path("c"), None
    )
