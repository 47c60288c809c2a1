"""``lmlab data``: data sets in a table, one prepared, one inspected."""

import json
from pathlib import Path

import pytest

from lmlab.commands.data_list import data_sets
from lmlab.config.experiment import Folders
from lmlab.config.options import options_of


@pytest.fixture
def notes(tmp_path):
    """A folder of texts, of which one occurs twice under other names."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("".join(f"{number}: line {line}\n" for line in range(50)))
    return folder


def test_the_list_names_every_data_set_and_what_is_prepared(lmlab, notes):
    assert "Nothing is prepared" in lmlab("data", "list").stdout
    lmlab("data", "prepare", "data=text", f"data.paths={notes}", "tokenizer=byte")
    shown = lmlab("data", "list").stdout
    assert "wikitext2" in shown and "CC BY-SA 3.0" in shown and "to be downloaded" in shown
    assert "byte, 256 types" in shown
    assert "fuzzy_in_context_recall" in shown and "needs no files" in shown


def test_the_list_has_every_option_with_its_licence_and_says_which_files_are_there(tmp_path):
    corpora = tmp_path / "corpora"
    (corpora / "multi30k").mkdir(parents=True)
    (corpora / "multi30k" / "train.de").touch()
    (corpora / "roneneldan" / "TinyStories").mkdir(parents=True)
    folders = Folders(tmp_path, tmp_path / "runs", tmp_path / "cache", corpora)
    rows = {row["data"]: row for row in data_sets(folders)}
    assert set(rows) == set(options_of("data"))
    assert {name: rows[name]["files"] for name in ("multi30k", "squad", "tinystories", "wikipedia", "ptb", "text")} == {
        "multi30k": "here",
        "squad": "not here",
        "tinystories": "here",
        "wikipedia": "to be downloaded",
        "ptb": "to be downloaded",
        "text": "your own",
    }
    licences = {name: rows[name]["licence"] for name in ("squad", "fineweb_edu", "continuation", "parity")}
    expected = ("CC BY-SA 4.0", "ODC-By 1.0", "the user's own", "")
    assert licences == dict(zip(licences, expected, strict=True))


def test_preparing_says_what_there_is_and_where(lmlab, notes, tmp_path):
    shown = lmlab("data", "prepare", "data=text", f"data.paths={notes}", "tokenizer=byte").stdout
    folder = next(line.split()[1] for line in shown.splitlines() if line.startswith("Folder:"))
    meta = json.loads(Path(folder, "meta.json").read_text())
    assert f"{meta['splits']['train']['tokens']:,}" in shown
    assert "lmlab train data=text" in shown


@pytest.mark.slow
def test_a_mixture_is_prepared_with_counts_of_text_and_of_examples(lmlab, notes):
    words = ["data=mixture", "data.weights={text: 1, arithmetic: 1}", f"+data.parts.text.paths={notes}"]
    shown = lmlab("data", "prepare", *words, "tokenizer=byte", "+data.parts.arithmetic.scored=20").stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith(("text", "arithmetic"))}
    assert len(rows["text"]) == 4 and rows["arithmetic"][1] == "20"
    assert "Next: lmlab train data=mixture" in shown and "data inspect" not in shown


@pytest.mark.slow
def test_the_data_of_a_sweep_are_prepared_once_for_each_choice(lmlab):
    shown = lmlab("data", "prepare", "-m", "data=parity,dyck", "seed=1,2", "model=lstm,gru").stdout
    assert shown.count("Fingerprint:") == 2 and "parity: generated" in shown and "dyck: generated" in shown
    assert lmlab("data", "prepare", "experiment=diagnostics").stdout.count("Fingerprint:") == 2


def test_inspecting_shows_documents_lengths_duplicates_and_frequencies(lmlab, notes):
    words = ["data=text", f"data.paths={notes}", "tokenizer=byte", "samples=1", "formats=[]"]
    shown = lmlab("data", "inspect", *words).stdout
    assert "0: line 0" in shown or "1: line 0" in shown or "2: line 0" in shown
    assert "median" in shown and "duplicates" in shown and "also in train" in shown
    train = "".join((notes / f"{n}.txt").read_text() for n in range(3))
    frequent = next(line for line in shown.splitlines() if line.startswith("'e'"))
    assert 0 < int(frequent.split()[1]) <= train.count("e")


def test_the_page_has_the_facts_and_no_verdict(lmlab, tmp_path):
    lmlab("data", "inspect", "data=dyck", "samples=1", "formats=[html,markdown]", "batch.context=16")
    (folder,) = (tmp_path / "outputs" / "data").iterdir()
    text = (folder / "report.md").read_text()
    assert "Token frequencies" in text and "doubts" not in text
    assert "No doubts" not in (folder / "report.html").read_text()
    assert list((folder / "figures").glob("*.svg"))


def test_a_generated_task_shows_its_sequences(lmlab):
    shown = lmlab("data", "inspect", "data=parity", "samples=2", "formats=[]", "batch.context=16").stdout
    assert "validation, 2 of 2" in shown and "2 of 2 types occur among 16,000 tokens" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected what to do"),
        (["inspect", "data=parity", "split=test"], "split=test: parity has no such split"),
        (["inspect", "data=parity", "samples=-1"], "samples=-1: expected at least 0"),
        (["inspect", "data=parity", "formats=[gif]"], "formats=gif"),
    ],
)
def test_options_that_mean_nothing_are_refused(lmlab, words, message):
    assert message in lmlab("data", *words, check=False).stderr
