import pytest

from lmlab.commands.train import _absolute, check_data
from lmlab.errors import UserError
from lmlab.runs.run import Run


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    run = Run(tmp_path / "run")
    config = {"name": "a", "seed": 1, "tags": [], "model": {}}
    run.create(config, "0123456789", data={"fingerprint": "f" * 64})
    check_data(run, "f" * 64)
    with pytest.raises(UserError, match="its data have changed since it began"):
        check_data(run, "e" * 64)


def test_the_same_words_in_another_folder_are_other_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _absolute(["notes", "/a/b"]) == [str(tmp_path / "notes"), "/a/b"]
    assert _absolute("~/x").startswith("/") and "~" not in _absolute("~/x")
