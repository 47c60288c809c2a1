from types import SimpleNamespace

import pytest

from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run
from lmlab.training.callbacks import heartbeats


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    hand = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(heartbeats.time, "monotonic", lambda: hand.seconds)
    return hand


def test_written_at_most_once_a_second_with_the_rate_of_this_attempt(tmp_path, clock):
    run, written = Run(tmp_path / "run"), []
    run.create({"name": "run", "seed": 1, "tags": [], "data": {}}, "id")
    callback = heartbeats.Heartbeats(run)
    trainer = SimpleNamespace(is_global_zero=True, global_step=100)
    module = SimpleNamespace(total_steps=400, tokens_per_step=64, latest={"train/loss": 2.0})
    callback.on_train_start(trainer, module)
    assert Heartbeat.read(run).tokens_per_second is None
    for _ in range(100):
        clock.seconds += 0.125
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, None, 0)
        written.append(Heartbeat.read(run).step)
    assert sorted(set(written)) == [100, *range(108, 201, 8)]
    module.latest |= {"validation/loss": 1.5, "validation/bits_per_byte": 2.5}
    clock.seconds += 2
    callback.on_validation_start(trainer, module)
    found = Heartbeat.read(run)
    assert (found.phase, found.step, found.steps, found.train_loss) == ("validating", 200, 400, 2.0)
    assert found.metrics == {"validation/bits_per_byte": 2.5, "validation/loss": 1.5}
    assert found.tokens_per_second == pytest.approx(100 * 64 / 14.5, abs=0.1)
    assert found.seconds_left == pytest.approx(200 * 14.5 / 100)
    callback.on_train_end(trainer, module)
    assert Heartbeat.read(run).phase == "finishing"


def test_other_ranks_write_nothing(tmp_path):
    trainer = SimpleNamespace(is_global_zero=False, global_step=0)
    heartbeats.Heartbeats(Run(tmp_path)).on_train_start(trainer, SimpleNamespace())
    assert not list(tmp_path.iterdir())
