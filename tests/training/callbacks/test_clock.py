"""The clock is set by hand, and so is the meter: 3 watts while time passes."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from lmlab.training.callbacks import Clock
from lmlab.training.callbacks import clock as clock_module


@pytest.fixture
def now(monkeypatch):
    time = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: time.seconds)
    monkeypatch.setattr(clock_module, "meter", lambda device, rank: lambda: 3.0 * time.seconds)
    return time


def trainer(ranks=1):
    def reduce(value, reduce_op):  # all ranks have the same
        return value * ranks if reduce_op == "sum" else value

    return SimpleNamespace(
        world_size=ranks,
        local_rank=0,
        global_step=7,
        accumulate_grad_batches=1,
        strategy=SimpleNamespace(reduce=reduce),
    )


def module():
    return SimpleNamespace(device=torch.device("cpu"), logs_at=lambda step: True, tokens_seen=600, times={}, also={})


def train(clock, now, seconds, trainer, module):
    clock.on_train_batch_start(trainer, module, None, 0)
    now.seconds += seconds
    clock.on_train_batch_end(trainer, module, None, None, 0)


def test_waiting_for_data_is_no_training(now):
    clock, trained, to = Clock(), module(), trainer()
    clock.on_train_start(to, trained)
    train(clock, now, 10, to, trained)
    for _ in range(2):
        clock.wait()
        now.seconds += 500
    train(clock, now, 10, to, trained)
    assert trained.times == {"time/seconds": 20.0, "time/joules": 60.0}


@pytest.mark.parametrize("ranks", [1, 4])
def test_seconds_and_joules_are_those_of_training_over_all_attempts(now, ranks):
    clock, trained, to = Clock(), module(), trainer(ranks)
    clock.on_train_start(to, trained)
    now.seconds += 50  # before the first step
    train(clock, now, 10, to, trained)
    assert trained.times == {"time/seconds": 10.0, "time/joules": 30.0 * ranks}
    assert trained.also == {"time/tokens_per_second": 60.0}
    clock.on_validation_start(to, trained)
    now.seconds += 1000
    train(clock, now, 5, to, trained)
    now.seconds += 1  # between two steps
    checkpoint = {"state": clock.state_dict()}
    clock.on_save_checkpoint(to, trained, checkpoint)
    train(clock, now, 100, to, trained)  # is lost

    now.seconds += 10_000
    resumed, trained = Clock(), module()
    resumed.on_load_checkpoint(to, trained, checkpoint)
    resumed.load_state_dict(checkpoint["state"])
    resumed.on_train_start(to, trained)
    train(resumed, now, 4, to, trained)
    resumed.on_train_end(to, trained)
    now.seconds += 77
    resumed.on_validation_start(to, trained)
    assert trained.times == {"time/seconds": 20.0, "time/joules": pytest.approx(60.0 * ranks)}
    assert resumed.seconds == 20.0 and resumed.joules == pytest.approx(60.0 * ranks)


def test_energy_is_left_out_where_not_every_attempt_and_rank_has_measured_it(now, monkeypatch):
    clock, trained = Clock(), module()
    clock.on_load_checkpoint(trainer(), trained, {})  # as an earlier version wrote it
    clock.load_state_dict({"seconds": 5.0})
    clock.on_train_start(trainer(), trained)
    train(clock, now, 10, trainer(), trained)
    assert trained.times == {"time/seconds": 15.0}

    clock, trained = Clock(), module()
    clock.on_load_checkpoint(trainer(), trained, {"joules": 12.0})
    monkeypatch.setattr(clock_module, "meter", lambda device, rank: None)
    clock.on_train_start(trainer(), trained)
    train(clock, now, 10, trainer(), trained)
    checkpoint = {}
    clock.on_save_checkpoint(trainer(), trained, checkpoint)
    assert "time/joules" not in trained.times and checkpoint == {"joules": None}


def test_a_meter_is_read_often_enough_between_rows(now, monkeypatch):
    readings = []
    monkeypatch.setattr(
        clock_module,
        "meter",
        lambda device, rank: lambda: readings.append(now.seconds) or now.seconds,
    )
    clock, trained = Clock(), module()
    trained.logs_at = lambda step: False
    clock.on_train_start(trainer(), trained)
    for _ in range(40):
        train(clock, now, 5, trainer(), trained)
    gaps = [later - sooner for sooner, later in pairwise(readings)]
    assert max(gaps) <= 30 and len(readings) < 15
