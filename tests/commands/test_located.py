import pytest

from lmlab.commands.located import _absolute, _is_gone, located
from lmlab.config.identity import identity
from lmlab.errors import UserError
from lmlab.runs.run import Run


def test_the_same_words_in_another_folder_are_other_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _absolute(["notes", "/a/b"]) == [str(tmp_path / "notes"), "/a/b"]
    assert _absolute("~/x").startswith("/") and "~" not in _absolute("~/x")


def test_wildcards_are_there_while_a_file_matches(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    assert not _is_gone([f"{tmp_path}/*.txt", str(tmp_path)])
    assert _is_gone({"train": f"{tmp_path}/*.txt", "validation": [f"{tmp_path}/*.md"]})


def test_text_that_is_gone_is_the_one_that_the_runs_had_there(tmp_path, compose, capsys):
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be.\n" * 50)
    composed = compose("model=lstm", "data=text", f"data.paths={text}")
    config = {key: value for key, value in composed.items() if key not in ("sweep", "study")}

    def lay_out() -> str:
        saved = located(config)
        name = f"{saved['name']}-{identity(saved)}"
        Run(tmp_path / "outputs" / "runs" / name).create(saved, identity(saved))
        return name

    name = lay_out()
    before = located(config)
    text.unlink()
    assert located(config) == before
    assert f"there is no {text}; going by the text that {name} had" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(UserError, match=r"there is no .*text\.txt$"):  # another run
        located(config | {"seed": 7})
    text.write_text("That is the question.\n" * 50)
    other = lay_out()
    text.unlink()
    with pytest.raises(UserError, match=rf"({name}, {other}|{other}, {name}) had different texts there"):
        located(config)
    text.write_bytes(b"\xff")  # there, but no text
    with pytest.raises(UserError, match=r"is not UTF-8[^;]*; convert it to UTF-8 first$"):
        located(config)


def test_a_data_set_of_the_hub_is_recorded_by_its_commit(compose, monkeypatch):
    from lmlab.data.corpora import HuggingFace

    composed = compose("data=hf", "data.dataset=a/b", "data.revision=main")
    config = {key: value for key, value in composed.items() if key not in ("sweep", "study")}
    ids = set()
    for commit in ("1" * 40, "2" * 40):
        monkeypatch.setattr(HuggingFace, "commit", lambda corpus, corpora, commit=commit: commit)
        saved = located(config)
        assert saved["data"]["revision"] == commit
        ids.add(identity(saved))
    assert len(ids) == 2


def test_files_of_a_data_set_are_identified_by_their_content(tmp_path, compose):
    def identity_of(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        composed = compose("data=hf", f"data.files={tmp_path / name}", "data.licence=mine")
        return identity(located({key: value for key, value in composed.items() if key not in ("sweep", "study")}))

    assert identity_of("a.jsonl", '{"text": "one"}\n') == identity_of("b.jsonl", '{"text": "one"}\n')
    assert identity_of("a.jsonl", '{"text": "one"}\n') != identity_of("a.jsonl", '{"text": "two"}\n')
