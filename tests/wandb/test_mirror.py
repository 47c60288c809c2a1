"""The parts of a W&B run that need neither a server nor training."""

import wandb
from synthetic_runs import write_answers, write_run

from lmlab.commands.wandb import mirror_evaluations
from lmlab.wandb.mirror import TABLE_ROWS, WandbRecord, installed_packages, recorded_evaluations


def test_installed_packages_are_those_that_wandb_itself_lists(tmp_path, monkeypatch):
    for folder, file, text in (
        ("one-1.dist-info", "METADATA", "Metadata-Version: 2.1\nName: One\nVersion: 1\n\nName: of the description\n"),
        ("two-2.egg-info", "PKG-INFO", "Name: two\nSummary: x\nVersion: 2\n"),
        ("none-3.dist-info", "METADATA", "Metadata-Version: 2.1\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    expected = [package for package in wandb.util.working_set() if package.key]
    packages = list(installed_packages())
    assert packages == expected and len(packages) > 50
    assert {("One", "1"), ("two", "2")} <= {(package.key, package.version) for package in packages}


def test_evaluations_are_scores_and_tables_of_the_first_predictions(tmp_path):
    run = write_run(tmp_path / "runs", "model=lstm")
    assert recorded_evaluations(run) == ({}, {})
    write_answers(run, ["x"] * (TABLE_ROWS + 1), [100] * (TABLE_ROWS + 1))
    scores, predictions = recorded_evaluations(run)
    assert scores["evaluations/quiz/test/em"] == 100
    (rows,) = predictions.values()
    assert len(rows) == TABLE_ROWS and rows[0]["references"] == ["0"]
    (run.path / "evaluations" / "quiz.jsonl").unlink()
    assert recorded_evaluations(run) == (scores, {})


def test_a_copy_offline_is_written_again_and_waits_to_be_sent(tmp_path, monkeypatch):
    run = write_run(tmp_path / "runs", "model=lstm")
    write_answers(run, ["x"], [100])
    mirror_evaluations(run)
    assert not (run.path / "wandb.json").exists(), "a run without W&B stays without"
    WandbRecord(run).save(id="abc", project="p", entity=None, complete=True)
    opened = []
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("lmlab.commands.wandb.set_up", lambda: None)
    monkeypatch.setattr("lmlab.commands.wandb.WandbRun", lambda *arguments, **_: opened.append(arguments) or Opened())
    mirror_evaluations(run)
    assert opened[0][2] == "offline" and Opened.closed == 0
    assert not WandbRecord(run).complete


class Opened:
    """A W&B run that notes its end."""

    closed = None

    def send(self, row):
        assert "step" in row

    def close(self, summary, exit_code):
        Opened.closed = exit_code
