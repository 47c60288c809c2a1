"""The file of a tokenizer: known by its content, and needed only until a run has its vocabulary."""

import shutil

import pytest
from conftest import SMALL
from vocabularies import byte_level

from lmlab.runs.lookup import all_runs


@pytest.fixture
def vocabulary(tmp_path):
    byte_level(tmp_path / "vocabulary.json")
    return tmp_path / "vocabulary.json"


@pytest.mark.slow  # several commands
def test_a_run_needs_the_file_only_once_and_knows_it_by_its_content(lmlab, corpus_file, vocabulary, tmp_path):
    words = ["model=lstm", "data=text", f"data.paths={corpus_file}", "tokenizer=pretrained", *SMALL]
    outputs = f"paths.outputs={tmp_path / 'out'}"
    lmlab("train", *words, f"tokenizer.path={vocabulary}", outputs)
    (run,) = all_runs(tmp_path / "out" / "runs")
    moved = shutil.move(vocabulary, tmp_path / "elsewhere.json")
    again = lmlab("train", *words, f"tokenizer.path={moved}", outputs)
    assert run.id in again.stdout and len([*all_runs(tmp_path / "out" / "runs")]) == 1
    (tmp_path / "elsewhere.json").unlink()
    gone = lmlab("train", *words, f"tokenizer.path={vocabulary}", outputs)
    assert f"going by the file that {run.path.name} had" in " ".join(gone.stdout.split())
    shutil.rmtree(tmp_path / "out" / "cache")
    assert "validation split" in lmlab("evaluate", f"run={run.id}", "split=validation", outputs).stdout
