import math

from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run


def test_the_newest_is_read_and_none_is_left_behind(tmp_path):
    run = Run(tmp_path)
    assert Heartbeat.read(run) is None
    Heartbeat("starting").write(run)
    Heartbeat("training", step=3, steps=10, train_loss=float("nan")).write(run)
    found = Heartbeat.read(run)
    assert (found.phase, found.step, found.steps, found.metrics) == ("training", 3, 10, {})
    assert found.train_loss != found.train_loss
    assert found.time and found.pid
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    Heartbeat.remove(run)
    Heartbeat.remove(run)
    assert not list(tmp_path.iterdir())


def test_one_of_an_earlier_version_has_its_measurements_by_name(tmp_path):
    (tmp_path / "progress.json").write_text(
        '{"phase": "training", "step": 3, "steps": 10, "train_loss": 2.0, "validation_loss": "NaN", '
        '"validation_bits_per_byte": null}'
    )
    found = Heartbeat.read(Run(tmp_path))
    assert found.metrics.keys() == {"validation/loss"} and math.isnan(found.metrics["validation/loss"])
    assert (found.step, found.train_loss) == (3, 2.0)


def test_one_that_cannot_be_read_is_none(tmp_path):
    for text in ("", '{"phase": ', "[1]", '{"phase": "training", "of another version": 1}'):
        (tmp_path / "progress.json").write_text(text)
        assert Heartbeat.read(Run(tmp_path)) is None
