"""Scoring a run whose text has moved or is gone, and other text than its own."""

import json
import math
import shutil
from pathlib import Path

import pytest

from lmlab.commands.evaluate import record, text_paths
from lmlab.errors import UserError
from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run

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


def test_options_that_do_not_go_with_text():
    assert text_paths({"paths": None}, "test", False) is None
    with pytest.raises(UserError, match="split=test: data.paths is scored as a whole"):
        text_paths({"paths": "a"}, "test", False)
    with pytest.raises(UserError, match="generated task"):
        text_paths({"paths": "a"}, None, True)
    with pytest.raises(UserError, match=r"data\.path: lmlab evaluate has no such option"):
        text_paths({"path": "a"}, None, False)


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
