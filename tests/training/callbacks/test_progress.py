import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run
from lmlab.runs.version import measures_of
from lmlab.training.callbacks import Heartbeats, Progress, Samples


def shown(terminal: bool, text: str, fn: str = "fit") -> str:
    """Return the lines after a validation at step 5 of 10."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=70)
    samples = Samples.__new__(Samples)
    samples.latest = text
    trainer = SimpleNamespace(
        global_step=5,
        max_steps=10,
        is_global_zero=True,
        state=SimpleNamespace(fn=fn),
        callbacks=[samples],
        val_dataloaders=[],
        datamodule=SimpleNamespace(validates_all=True),
    )
    latest = {"train/loss": 2.5, "validation/loss": 2.0, "validation/bits_per_byte": 1.25}
    module = SimpleNamespace(latest=latest, tokens_per_step=8)
    progress = Progress("lstm", measures_of({}), console)
    progress.on_train_start(trainer, module)
    progress.on_validation_start(trainer, module)
    progress.on_validation_end(trainer, module)
    progress.on_train_end(trainer, module)
    return console.file.getvalue()


def test_a_line_after_each_validation_shows_its_loss_and_the_beginning_of_the_sample():
    line = shown(False, "one\ntwo\x7f" + "x" * 100)
    assert line.startswith("lstm: step 5 of 10, ")
    assert line.endswith("validation bits/byte 1.2500, sample: 'one\\ntwo\\x7f" + "x" * 52 + "'\n")
    assert shown(False, "").endswith("validation bits/byte 1.2500\n")
    assert shown(False, "text", fn="validate") == ""


@pytest.mark.parametrize("text", ["short", "x" * 60])
def test_on_a_terminal_the_line_stands_above_the_bar_and_fits(text):
    lines = shown(True, text).replace("\r", "\n").split("\n")
    (line,) = [line for line in lines if "step 5 of 10" in line]
    assert "validation bits/byte 1.25" in line and len(line.split("lstm: ")[1]) <= 70 - len("lstm: ")


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    hand = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: hand.seconds)
    return hand


def test_written_at_most_once_a_second_with_the_rate_of_this_attempt(tmp_path, clock):
    run, written = Run(tmp_path / "run"), []
    run.create({"name": "run", "seed": 1, "tags": [], "data": {}}, "id")
    callback = Heartbeats(run)
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
    Heartbeats(Run(tmp_path)).on_train_start(trainer, SimpleNamespace())
    assert not list(tmp_path.iterdir())
