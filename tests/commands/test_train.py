import pytest

from lmlab.commands.train import _absolute, check_data, located
from lmlab.config import identity
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


def test_whose_text_is_gone_is_told_which_run_finished_with_it(tmp_path, compose):
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be.\n" * 50)
    config = compose("model=lstm", "data=text", f"data.paths={text}")
    asked = {key: value for key, value in config.items() if key not in ("sweep", "study")}
    saved = located(asked)
    name = f"{saved['name']}-{identity(saved)}"
    run = Run(tmp_path / "outputs" / "runs" / name)
    run.create(saved, identity(saved), data={"fingerprint": "f" * 64})
    text.unlink()
    with pytest.raises(UserError, match=r"there is no .*text\.txt$"):  # it is not finished
        located(asked)
    run.update(status="finished")
    with pytest.raises(UserError, match=f"there is no .*text.txt; {name} finished with the text that was there"):
        located(asked)
    with pytest.raises(UserError, match=r"there is no .*text\.txt$"):  # another run
        located(asked | {"seed": 7})
