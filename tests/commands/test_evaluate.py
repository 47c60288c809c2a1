"""Scoring a run whose text has moved or is gone, and other text than its own."""

import json
import math
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lmlab.commands import evaluate
from lmlab.commands.evaluate import record
from lmlab.commands.scored_data import text_options
from lmlab.errors import UserError
from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run
from lmlab.training.load import load_trained

SCORED = ["metrics=[fixed_window]", "accelerator=cpu"]


@pytest.fixture
def project(tmp_path, lmlab, small, corpus_file):
    """A project with a finished run on a text in it, and a function that scores that run."""
    (tmp_path / "a").mkdir()
    shutil.copy(corpus_file, tmp_path / "a" / "book.txt")
    words = [word for word in small if not word.startswith(("data.paths", "tokenizer"))]
    lmlab("train", *words, "data.paths=book.txt", "tokenizer=character", cwd=tmp_path / "a", LMLAB_OUTPUTS="outputs")
    return tmp_path / "a"


def rows(project: Path) -> list[dict]:
    (path,) = project.glob("outputs/runs/*/evaluations.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_moved_run_is_found_scored_and_needs_no_text(project, tmp_path, lmlab, small):
    project = project.rename(tmp_path / "b")
    (run,) = (project / "outputs" / "runs").iterdir()
    score = ["evaluate", f"run={run.name}", *SCORED]
    lmlab(*score, cwd=project, LMLAB_OUTPUTS="outputs")
    shutil.rmtree(project / "outputs" / "cache")
    lmlab(*score, cwd=project, LMLAB_OUTPUTS="outputs")  # the text moved along, and is prepared again
    (project / "book.txt").rename(project / "moved.txt")
    lmlab(*score, cwd=project, LMLAB_OUTPUTS="outputs")  # only its tokens are there
    assert len(rows(project)) == 1, "one result, three times the same"
    words = [word for word in small if not word.startswith(("data.paths", "tokenizer"))]
    again = ["train", *words, "data.paths=moved.txt", "tokenizer=character"]
    assert "recorded result" in lmlab(*again, cwd=project, LMLAB_OUTPUTS="outputs").stdout
    (project / "moved.txt").unlink()
    shutil.rmtree(project / "outputs" / "cache")
    done = lmlab(*score, cwd=project, check=False, LMLAB_OUTPUTS="outputs")
    assert done.returncode == 1 and "cannot be prepared again: data.paths: there is no" in done.stderr


@pytest.mark.slow
def test_the_mean_of_checkpoints_is_that_computed_by_hand(tmp_path, lmlab, small):
    words = [*small, "model=lstm", "optimizer.lr=0.05", "logger=[]"]
    lmlab("train", *words, "callbacks.checkpoint.every=2", "callbacks.checkpoint.keep=4")
    (path,) = tmp_path.glob("outputs/runs/*")
    run, score = Run(path), ["evaluate", f"run={path}", *SCORED]
    states = [torch.load(run.checkpoints / f"step-{n:08d}" / "state", weights_only=True) for n in (6, 8, 10)]
    mean = {
        name: torch.tensor(np.mean([state["state_dict"][f"model.{name}"].numpy() for state in states], 0, np.float64))
        for name in load_file(run.weights)
    }
    loaded = load_trained(run, average=3)
    assert loaded.checkpoint == "mean of steps 6, 8 and 10"
    for name, weight in mean.items():
        assert torch.equal(loaded.model.state_dict()[name], weight.float())
    assert "weights: mean of steps 6, 8 and 10" in " ".join(lmlab(*score, "average=3").stdout.split())
    (row,) = map(json.loads, (path / "evaluations.jsonl").open())
    save_file({name: weight.float() for name, weight in mean.items()}, run.best)
    manifest = json.loads((path / "run.json").read_text())
    manifest["weights"].pop(run.best.name)
    (path / "run.json").write_text(json.dumps(manifest))
    lmlab(*score, "checkpoint=best")
    _, by_hand = map(json.loads, (path / "evaluations.jsonl").open())
    assert row["metrics"] == by_hand["metrics"]

    # One checkpoint, and what there is not.
    for name in mean:
        assert torch.equal(load_trained(run, "8").model.state_dict()[name], states[1]["state_dict"][f"model.{name}"])
    for option, message in {
        "average=5": f"average=5: {path} has only 4 checkpoints (steps 4, 6, 8, 10; ",
        "average=1": "average=1: expected at least 2 checkpoints",
        "checkpoint=7": f"checkpoint=7: {path} has no such checkpoint, there are steps 4, 6, 8, 10 (",
        "checkpoint=ema": f"checkpoint=ema: {path} has no such average; lmlab train callbacks=ema keeps one",
        "checkpoint=bset": "checkpoint=bset: unknown (did you mean 'best'?)",
    }.items():
        refused = lmlab(*score, option, check=False)
        assert refused.returncode == 1 and message in refused.stderr
    state = run.checkpoints / "step-00000008" / "state"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(UserError, match="checkpoint=8: .*step-00000008 is damaged: state has"):
        load_trained(run, average=3)


def test_any_text_is_scored_as_a_whole(project, lmlab):
    (project / "one.txt").write_text("the cat sat\n")
    (project / "two.txt").write_text("ζ on a mat\n")
    (run,) = (project / "outputs" / "runs").iterdir()
    done = lmlab(
        "evaluate", f"run={run}", *SCORED, "data.paths=[one.txt,two.txt]", cwd=project, LMLAB_OUTPUTS="outputs"
    )
    (row,) = rows(project)
    text, scores = row["text"], row["metrics"]["fixed_window"]
    assert (text["bytes"], text["tokens"], text["unknown"]) == (12 + 12, 12 + 11 + 1, 1)
    assert scores["tokens"] == text["tokens"]
    assert math.isclose(scores["bits_per_byte"], scores["loss"] / math.log(2) * text["tokens"] / text["bytes"])
    assert row["settings"]["split"] == f"text {text['fingerprint'][:12]}"
    assert "Unknown: 1 of the tokens" in done.stdout and str(project / "two.txt") in done.stdout


def test_records_are_scored_by_the_field_that_is_named(project, lmlab):
    (project / "a.csv").write_text("id,review\n1,the cat sat\n2,on a mat\n")
    (run,) = (project / "outputs" / "runs").iterdir()
    words = ["evaluate", f"run={run}", *SCORED, "data.paths=*.csv", "data.field=review"]
    done = lmlab(*words, cwd=project, LMLAB_OUTPUTS="outputs")
    text = rows(project)[-1]["text"]
    assert (text["bytes"], text["documents"], text["field"]) == (11 + 8, 2, "review")
    assert "1 file read, 2 records (field 'review')" in done.stdout


def test_options_that_do_not_go_with_text():
    assert text_options({"paths": None}, "test", False) is None
    with pytest.raises(UserError, match=r"data\.field=body: is for the text that data\.paths names"):
        text_options({"paths": None, "field": "body"}, None, False)
    with pytest.raises(UserError, match=r"data\.on_error=skip: is for the text that data\.paths names"):
        text_options({"paths": None, "field": None, "on_error": "skip"}, None, False)
    with pytest.raises(UserError, match="split=test: data.paths is scored as a whole"):
        text_options({"paths": "a"}, "test", False)
    with pytest.raises(UserError, match="generated task"):
        text_options({"paths": "a"}, None, True)
    with pytest.raises(UserError, match=r"data\.path: lmlab evaluate has no such option"):
        text_options({"path": "a"}, None, False)


def test_several_commands_record_scores_of_a_run_at_once(tmp_path, monkeypatch):
    run, write_rows = Run(tmp_path), evaluate.write_rows

    def slowly(path, rows):
        time.sleep(0.05)
        write_rows(path, rows)

    monkeypatch.setattr(evaluate, "write_rows", slowly)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: record(run, {"split": f"{number}"}, {}, "code"), range(4)))
    assert {row["settings"]["split"] for row in read_jsonl(tmp_path / "evaluations.jsonl")} == {"0", "1", "2", "3"}
    assert not run.foreign()


def test_a_score_replaces_those_of_the_same_code_alone(tmp_path, capsys):
    run = Run(tmp_path)
    settings = {"split": "validation", "checkpoint": "final"}
    for loss, code, other in (
        (1.0, "first", {}),
        (2.0, "first", {}),
        (3.0, "second", {}),
        (4.0, "second", {"split": "test"}),
    ):
        record(run, settings | other, {"answers": {"loss": loss}}, code)
    rows = [(row["metrics"]["answers"]["loss"], row["code"]) for row in read_jsonl(tmp_path / "evaluations.jsonl")]
    assert rows == [(2.0, "first"), (3.0, "second"), (4.0, "second")]
    assert capsys.readouterr().out.count("by other code; it is kept") == 1
