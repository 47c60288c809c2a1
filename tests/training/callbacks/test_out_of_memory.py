from types import SimpleNamespace

import pytest
import torch
from experiments import experiment_of
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import CannotGoOn, Restart
from lmlab.runs import events
from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run
from lmlab.training.allocator import is_out_of_memory
from lmlab.training.callbacks import OutOfMemory
from lmlab.training.callbacks.out_of_memory import fitting

FULL = torch.OutOfMemoryError("CUDA out of memory.")


def config_of(size=8, devices=1, accumulate=1, carry_state=False, action="halve"):
    trainer = {"devices": devices, "accumulate": accumulate, "out_of_memory": action}
    return experiment_of(batch={"size": size, "context": 16, "carry_state": carry_state}, trainer=trainer)


def fail(run, config, pieces=1, validating=False, began=True, error=FULL):
    callback = OutOfMemory(run, config, pieces)
    trainer = SimpleNamespace(global_step=2, validating=validating)
    if began:
        callback.on_train_start(trainer, None)
    callback.on_exception(trainer, None, error)


def test_torch_has_no_memory_left():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(FULL)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_micro_batches_and_validations_are_halved_until_a_sequence_is_left(tmp_path):
    run, config = Run(tmp_path), config_of(size=6)
    tried = []
    for _ in range(2):
        chosen, pieces = fitting(run, config)
        tried.append((chosen.trainer.accumulate, pieces))
        with pytest.raises(Restart, match=r"step 3: training on \d sequences of 16 tokens does not fit"):
            fail(run, chosen, pieces)
        with pytest.raises(Restart, match=r"step 3: validating on \d sequences"):
            fail(run, chosen, pieces, validating=True)
    chosen, pieces = fitting(run, config)
    assert [*tried, (chosen.trainer.accumulate, pieces)] == [(1, 1), (2, 2), (6, 6)]
    assert config == config_of(size=6), "what was asked for stays as it was"
    for validating in (False, True):
        with pytest.raises(CannotGoOn, match="no smaller micro-batches"):
            fail(run, chosen, pieces, validating)


def test_two_ranks_that_find_the_same_say_it_once(tmp_path, capsys):
    for _ in range(2):
        with pytest.raises(Restart):
            fail(Run(tmp_path), config_of())
    assert len(read_jsonl(tmp_path / "events.jsonl")) == 1
    assert capsys.readouterr().err.count("does not fit") == 1


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 12), st.integers(2, 24))
def test_a_step_has_the_same_sequences_in_micro_batches_small_enough(devices, accumulate, rows, too_many):
    config = config_of(devices * accumulate * rows, devices, accumulate)
    row = {"where": "training", "rows": too_many}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "done", lambda run, action: [row])
        chosen = fitting(None, config)[0].trainer.accumulate
    assert chosen >= accumulate
    assert config.batch.size % (devices * chosen) == 0
    assert config.batch.size // (devices * chosen) <= too_many // 2


def test_what_cannot_be_cured_is_said_in_one_line(tmp_path):
    run = Run(tmp_path)
    for expected, config, others in (
        ("trainer.out_of_memory=halve uses", config_of(action="fail"), {}),
        ("batch.carry_state=true allows no micro-batches", config_of(carry_state=True), {}),
        ("the network alone does not fit", config_of(), {"began": False}),
    ):
        with pytest.raises(CannotGoOn, match=expected):
            fail(run, config, **others)
    assert not run.events.exists()
    fail(run, config_of(), error=ValueError("something else"))
