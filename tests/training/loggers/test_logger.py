import json
from types import SimpleNamespace

import pytest
import torch

from lmlab.runs.files import read_jsonl
from lmlab.training.loggers.logger import JsonlLogger, drop_rows_after


def test_rows_are_read_back_exactly(tmp_path):
    logger = JsonlLogger(tmp_path / "metrics.jsonl")
    rows = [{"train/loss": 0.1 + 0.2, "tokens": 64}, {"validation/loss": 1e-300, "tokens": 128}]
    for step, row in enumerate(rows):
        logger.log_metrics(row, step=step)
    assert read_jsonl(logger.path) == [{"step": step, **row} for step, row in enumerate(rows)]


@pytest.mark.parametrize("step", [0, 2, 9])
def test_rows_after_the_checkpoint_and_a_cut_line_go(tmp_path, step):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s, "train/x": 0.1}) + "\n" for s in range(1, 6)) + '{"step": 6, "x"')
    drop_rows_after(path, step, validated_step=0)
    assert [row["step"] for row in read_jsonl(path)] == [s for s in range(1, 6) if s <= step]
    assert not path.read_text() or path.read_text().endswith("\n")


def test_rows_of_a_validation_that_is_still_due_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": s, name: 0.1} for s in (2, 4) for name in ("train/loss", "validation/loss")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    drop_rows_after(path, step=4, validated_step=2)
    assert read_jsonl(path) == rows[:3]


def test_the_last_validation_of_a_run_that_ended_early_goes_and_that_of_its_part_stays(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": s, "validation/loss": loss} for s, loss in ((2, 3.0), (4, 2.5), (4, 2.6))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    drop_rows_after(path, step=4, validated_step=4)
    assert read_jsonl(path) == rows[:2]


def test_nothing_to_drop_is_fine(tmp_path):
    drop_rows_after(tmp_path / "absent.jsonl", 3, 3)
    assert not list(tmp_path.iterdir())


def test_what_callbacks_log_is_of_the_step_and_tokens_of_the_moment_and_among_the_newest_metrics(tmp_path):
    module = SimpleNamespace(latest={"validation/loss": 2.0}, global_step=5, tokens_seen=320)
    logger = JsonlLogger(tmp_path / "metrics.jsonl", module)
    logger.log_metrics({"validation/mine": torch.tensor(0.5), "epoch": 0}, step=4)
    logger.log_metrics({"validation/yours": 1})
    logger.log_metrics({"epoch": 0}, step=4)
    place = {"step": 5, "tokens": 320}
    assert read_jsonl(logger.path) == [place | {"validation/mine": 0.5}, place | {"validation/yours": 1}]
    assert module.latest == {"validation/loss": 2.0, "validation/mine": 0.5, "validation/yours": 1}
