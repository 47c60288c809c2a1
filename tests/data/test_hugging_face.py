"""Data sets of the ``datasets`` library: real local files, and errors of the hub that its functions raise."""

import bz2
import gzip
import hashlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmlab.data.corpora import HuggingFace, stored_texts
from lmlab.data.corpora.hugging_face import split_of
from lmlab.data.preparation import prepare
from lmlab.data.tokenizers import Byte
from lmlab.errors import Interrupted, UserError
from lmlab.progress import ProgressBar

TEXTS = [f"document {number} of the café" for number in range(300)]


@pytest.fixture(autouse=True)
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def json_lines(path: Path, texts=TEXTS, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"id": number, "text": text, **more} for number, text in enumerate(texts))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found(cache, corpora=None, **options):
    corpus = HuggingFace(**options)
    corpus.find(corpora, cache)
    return corpus


def texts_of(corpus) -> dict[str, list[str]]:
    return {split: list(corpus.documents(split)) for split in corpus.splits}


class TestFiles:
    @pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.bz2", "parquet", "csv", "txt", "arrow"])
    def test_every_format_gives_the_same_documents(self, tmp_path, cache, form):
        path = tmp_path / f"a.{form}"
        if form == "txt":
            path.write_text("".join(f"{text}\n" for text in TEXTS))
        elif form == "csv":
            path.write_text("id,text\n" + "".join(f'{number},"{text}"\n' for number, text in enumerate(TEXTS)))
        elif form in ("parquet", "arrow"):
            import pyarrow
            from pyarrow import parquet

            table = pyarrow.table({"id": list(range(len(TEXTS))), "text": TEXTS})
            if form == "parquet":
                parquet.write_table(table, path)
            else:
                with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
                    stream.write_table(table)
        else:
            content = json_lines(tmp_path / "plain.jsonl").read_bytes()
            pack = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.bz2": bz2.compress}[form]
            path.write_bytes(pack(content))
        texts = texts_of(found(cache, files=str(path), test=0.1))
        expected = {
            split: [text for text in TEXTS if split_of(text, {"validation": 0.05, "test": 0.1}) == split]
            for split in texts
        }
        assert texts == expected
        assert sum(map(len, texts.values())) == len(TEXTS)

    def test_splits_are_given_by_files(self, tmp_path, cache):
        files = {split: str(json_lines(tmp_path / f"{split}.jsonl", [split] * 3)) for split in ("train", "validation")}
        assert texts_of(found(cache, files=files)) == {split: [split] * 3 for split in files}

    def test_a_pattern_reads_files_in_the_order_of_their_names(self, tmp_path, cache):
        for part in ("b", "a", "c"):
            json_lines(tmp_path / f"{part}.jsonl", [f"{part} {number}" for number in range(40)])
        texts = list(found(cache, files=str(tmp_path / "*.jsonl"), validation=0.2).documents("train"))
        assert texts == sorted(texts, key=lambda text: text[0]) and {text[0] for text in texts} == set("abc")

    def test_parts_of_a_split(self, tmp_path, cache):
        path = json_lines(tmp_path / "a.jsonl")
        corpus = found(cache, files=str(path), train="train[:90%]", validation="train[90%:]")
        assert texts_of(corpus) == {"train": TEXTS[:270], "validation": TEXTS[270:]}

    def test_only_the_first_documents_are_read(self, tmp_path, cache):
        path = json_lines(tmp_path / "a.jsonl")
        texts = texts_of(found(cache, files=str(path), limit=120, validation=0.2))
        assert sorted(text for part in texts.values() for text in part) == sorted(TEXTS[:120])

    def test_documents_without_text_are_left_out_and_counted(self, tmp_path, cache):
        path = json_lines(
            tmp_path / "a.jsonl",
            [None if number % 10 == 0 else "" if number == 5 else text for number, text in enumerate(TEXTS)],
        )
        corpus = found(cache, files=str(path))
        assert sum(map(len, texts_of(corpus).values())) == 269
        note = f"data.files={path}: 31 of 300 documents of train have no text and are left out"
        assert corpus.notes == (note,) == found(cache, files=str(path)).notes

    def test_the_only_column_of_texts_is_the_text(self, tmp_path, cache):
        (tmp_path / "a.csv").write_text("id,line\n" + "".join(f"{number},x{number}\n" for number in range(200)))
        assert next(found(cache, files=str(tmp_path / "a.csv")).documents("train")) == "x0"

    def test_is_read_once_and_then_needs_neither_files_nor_library(self, tmp_path, cache, monkeypatch):
        path = json_lines(tmp_path / "a.jsonl")
        os.utime(path, (1e9, 1e9))
        before = found(cache, files=str(path))
        monkeypatch.setattr(HuggingFace, "_builder", None)
        assert texts_of(found(cache, files=str(path))) == texts_of(before)

    def test_fingerprint_and_checksum_follow_the_content(self, tmp_path, cache):
        one, same, other = (
            found(cache, files=str(json_lines(tmp_path / name / "a.jsonl", texts)))
            for name, texts in (("one", TEXTS), ("two", TEXTS), ("three", TEXTS[1:]))
        )
        assert one.fingerprint() == same.fingerprint() != other.fingerprint()
        assert one.checksum(cache) == same.checksum(cache) != other.checksum(cache)
        assert found(cache, files=str(tmp_path / "one" / "a.jsonl"), validation=0.1).fingerprint() != one.fingerprint()


class TestSplitOf:
    def test_is_the_documented_hash(self):
        place = int(hashlib.sha256(b"abc").hexdigest()[:16], 16) / 2**64
        assert split_of("abc", {"validation": place + 1e-9}) == "validation"
        assert split_of("abc", {"validation": place, "test": 1e-9}) == "test"
        assert split_of("abc", {"validation": place / 2, "test": place / 2}) == "train"

    def test_shares(self):
        splits = [split_of(f"document {number}", {"validation": 0.1, "test": 0.2}) for number in range(10_000)]
        assert abs(splits.count("validation") - 1000) < 4 * (10_000 * 0.1 * 0.9) ** 0.5
        assert abs(splits.count("test") - 2000) < 4 * (10_000 * 0.2 * 0.8) ** 0.5

    def test_more_documents_move_none(self, tmp_path, cache):
        few = texts_of(found(cache, files=str(json_lines(tmp_path / "few.jsonl", TEXTS[:200]))))
        many = texts_of(found(cache, files=str(json_lines(tmp_path / "many.jsonl", TEXTS))))
        assert all(set(few[split]) <= set(many[split]) for split in few)


def test_the_cache_need_not_exist(tmp_path):
    corpus = HuggingFace(files=str(json_lines(tmp_path / "a.jsonl")), column="text")
    corpus.find(None, tmp_path / "outputs" / "cache")
    assert texts_of(corpus)["train"]


class TestFolder:
    """A copy of a data set: files in a folder, with a card that names its subsets."""

    @pytest.fixture
    def corpora(self, tmp_path):
        folder = tmp_path / "corpora" / "me" / "tales"
        card = ["---", "configs:"]
        for subset in ("en", "de"):
            card += [f"- config_name: {subset}", "  data_files:"]
            for split, number in (("train", 30), ("validation", 5), ("test", 4)):
                json_lines(folder / subset / f"{split}.jsonl", [f"{subset} {split}"] * number)
                card.append(f"  - {{split: {split}, path: {subset}/{split}.jsonl}}")
        (folder / "README.md").write_text("\n".join([*card, "---", ""]))
        return tmp_path / "corpora"

    def test_is_read_instead_of_the_hub(self, corpora, cache):
        corpus = found(cache, corpora, dataset="me/tales", subset="de", revision="0" * 40)
        expected = {"train": ["de train"] * 30, "validation": ["de validation"] * 5, "test": ["de test"] * 4}
        assert texts_of(corpus) == expected
        assert texts_of(found(cache, files=str(corpora / "me" / "tales"), subset="de")) == expected

    def test_names_of_files_decide_on_splits(self, tmp_path, cache):
        folder = tmp_path / "tales"
        json_lines(folder / "train.jsonl")
        validation = json_lines(folder / "validation.jsonl", ["held out"] * 5)
        assert texts_of(found(cache, files=str(folder)))["validation"] == ["held out"] * 5
        validation.rename(folder / "test.jsonl")
        renamed = texts_of(found(cache, files=str(folder)))
        assert renamed["test"] == ["held out"] * 5 and "held out" not in renamed["validation"]

    def test_records_what_was_read(self, corpora, cache):
        corpus = HuggingFace(dataset="me/tales", subset="en", limit=7)
        recorded = prepare(corpus, Byte(), cache, corpora, progress=False).describe()
        assert recorded["splits"]["train"]["documents"] == 7
        provenance = recorded["provenance"]
        assert len(provenance.pop("sha256")) == 64
        assert provenance == {
            "dataset": "me/tales",
            "subset": "en",
            "splits": {"train": "train", "validation": "validation", "test": "test"},
            "limit": 7,
        }

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, r"data\.subset: .*tales has several subsets \(choose one of: de, en\)"),
            ({"subset": "enn"}, r"data\.subset=enn: .*tales has no such subset \(did you mean 'en'\?\)"),
            (
                {"subset": "en", "validation": "valid"},
                r"data\.validation=valid: .* no split valid \(did you mean 'valid",
            ),
            ({"subset": "en", "train": "train+extra"}, r"data\.train=train\+extra: .* has no split extra"),
            ({"subset": "en", "column": "txt"}, r"data\.column=txt: .* has no such column \(did you mean 'text'\?\)"),
            ({"subset": "en", "column": "id"}, r"data\.column=id: holds no texts but int64 \(choose one of: text\)"),
        ],
    )
    def test_missing_subset_split_or_column(self, corpora, cache, options, message):
        with pytest.raises(UserError, match=message):
            found(cache, corpora, dataset="me/tales", **options)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, r"data\.dataset has no value"),
            ({"dataset": "json"}, r"data\.files has no value: expected the files of data\.dataset=json"),
            (
                {"dataset": "jsonl", "files": "a"},
                r"data\.dataset=jsonl: .* expected a format \(did you mean 'json'\?\)",
            ),
            ({"files": "a", "revision": "main"}, r"data\.revision=main: files on this machine"),
            ({"dataset": "a/b", "limit": 0}, r"data\.limit=0: expected at least 1"),
            ({"dataset": "a/b", "validation": 0}, r"data\.validation=0: expected a share"),
            ({"dataset": "a/b", "validation": 0.5, "test": 0.5}, r"data\.test=0\.5: .* leaves some text"),
            ({"dataset": "a/b", "test": 0.97}, r"data\.test=0\.97: .* leaves some text"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(UserError, match=message):
            HuggingFace(**options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"files": "none.jsonl"}, r"data\.files: there is no file none\.jsonl"),
            (
                {"files": {"train": "a.jsonl", "validation": "x*.jsonl"}},
                r"data\.files\.validation: there is no file x\*",
            ),
            ({"files": "https://a/b.jsonl"}, r"data\.files=https://a/b\.jsonl: expected a file on this machine"),
            ({"files": ["a.jsonl", "b.txt"]}, r"data\.files: .*the files have several formats; .*json, parquet"),
            ({"files": "c.docx"}, r"data\.files: .*c\.docx: its format is unclear"),
            ({"files": "a.jsonl", "subset": "en"}, r"data\.subset=en: files have no subsets"),
            ({"files": "broken.jsonl"}, r"broken\.jsonl cannot be read \(JSON parse error: .* in row 1\)"),
            ({"files": "broken.parquet"}, r"broken\.parquet.* cannot be read \(.*magic bytes"),
            ({"files": "two.jsonl"}, r"data\.column has no value: expected the column of .* \(choose one of: a, b\)"),
            ({"files": "empty.jsonl"}, r"empty\.jsonl: has no documents"),
            (
                {"files": "one.jsonl"},
                r"data\.validation: the shares leave no document .* data\.train=train has 1 document;",
            ),
            ({"files": "a.jsonl", "train": "train[:x]"}, r"a\.jsonl: cannot take train\[:x\]"),
            (
                {"files": "a.jsonl", "validation": "train"},
                r"data\.validation=train: shares documents with data\.train=train",
            ),
            (
                {"files": "a.jsonl", "train": "train[:95%]", "validation": "train[90%:]"},
                r"data\.validation=train\[90%:\]: shares documents with data\.train=train\[:95%\]; expected other ones",
            ),
        ],
    )
    def test_files(self, tmp_path, cache, monkeypatch, options, message):
        monkeypatch.chdir(tmp_path)
        json_lines(tmp_path / "a.jsonl")
        json_lines(tmp_path / "one.jsonl", ["a"])
        (tmp_path / "b.txt").write_text("b\n")
        (tmp_path / "c.docx").write_text("c\n")
        (tmp_path / "broken.jsonl").write_text('{"text": "one"}\n{"text": "two"\n')
        (tmp_path / "broken.parquet").write_text("no parquet file")
        (tmp_path / "two.jsonl").write_text('{"a": "one", "b": "two"}\n')
        (tmp_path / "empty.jsonl").write_text("")
        with pytest.raises(UserError, match=message) as error:
            found(cache, **options)
        assert "\n" not in str(error.value)

    def test_parts_that_only_touch_are_accepted(self, tmp_path, cache):
        path = str(json_lines(tmp_path / "a.jsonl"))
        corpus = found(cache, files=path, train="train[:200]", validation="train[200:250]", test="train[-50:]")
        assert texts_of(corpus) == {"train": TEXTS[:200], "validation": TEXTS[200:250], "test": TEXTS[-50:]}

    def test_missing_library(self, tmp_path, cache, monkeypatch):
        path = json_lines(tmp_path / "a.jsonl")
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(UserError, match=r"data=hf: needs the package datasets \(pip install 'lmlab\[corpora\]'\)"):
            found(cache, files=str(path))


class TestHub:
    """The hub is not there in tests: the library's functions are replaced."""

    @pytest.fixture
    def hub(self, monkeypatch):
        """Let the hub know a data set at one commit; ``answer`` is the error that it answers with instead."""
        import datasets
        import huggingface_hub

        state = SimpleNamespace(answer=None, commit="1" * 40, cached=None, requests=[])

        def dataset_info(self, dataset, revision=None):
            state.requests.append(revision)
            if state.answer is not None:
                raise state.answer
            return SimpleNamespace(sha=state.commit if revision in (None, "main") else revision)

        def builder(path, revision, name, cache_dir):
            return SimpleNamespace(
                hash=state.cached or revision,
                info=SimpleNamespace(splits={"train": SimpleNamespace(num_bytes=None)}),
                as_streaming_dataset=lambda split: datasets.Dataset.from_dict({"text": TEXTS}).to_iterable_dataset(),
            )

        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *arguments, **options: None)
        monkeypatch.setattr(datasets, "load_dataset_builder", builder)
        return state

    def test_a_commit_is_recorded(self, hub, cache):
        corpus = found(cache, dataset="a/b")
        assert corpus.provenance()["revision"] == hub.commit
        assert HuggingFace("a/b").commit(None) == HuggingFace("a/b", revision="main").commit(None) == hub.commit

    def test_a_commit_needs_no_network_once_it_is_there(self, hub, cache):
        texts = texts_of(found(cache, dataset="a/b", revision=hub.commit))
        hub.answer = ConnectionError("Name or service not known")
        assert texts_of(found(cache, dataset="a/b", revision=hub.commit)) == texts
        assert HuggingFace("a/b", revision=hub.commit).commit(None) == hub.commit

    def test_nothing_is_downloaded_where_a_command_forbids_it(self, hub, cache):
        corpus = HuggingFace("a/b", revision=hub.commit)
        corpus.download = False
        with pytest.raises(
            UserError, match=r"data\.dataset=a/b: not in .*downloads/hugging_face; lmlab train downloads"
        ):
            corpus.find(None, cache)
        assert hub.requests == []

    def test_no_network(self, hub, cache):
        hub.answer = ConnectionError("Name or service not known")
        message = r"data\.dataset=a/b: the hub cannot be reached \(Name or .*LMLAB_CORPORA .* copy of it as a/b"
        for revision in (None, hub.commit):
            with pytest.raises(UserError, match=message):
                found(cache, dataset="a/b", revision=revision)

    def test_without_a_network_the_newest_revision_of_the_librarys_cache_is_used(self, hub, cache, monkeypatch):
        import huggingface_hub

        card = f"/hub/datasets--a--b/snapshots/{'2' * 40}/README.md"
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *arguments, **options: card)
        hub.answer = ConnectionError("offline mode is enabled")
        assert HuggingFace("a/b").commit(None) == "2" * 40

    def test_another_revision_in_the_librarys_cache_is_not_used(self, hub, cache):
        hub.cached = "3" * 40
        with pytest.raises(UserError, match=f"cache holds revision {hub.cached}; expected {hub.commit}"):
            found(cache, dataset="a/b")

    def test_missing_data_sets_and_revisions(self, hub, cache):
        from datasets.exceptions import DatasetNotFoundError

        for error, message in (
            (
                DatasetNotFoundError("Dataset 'a/b' is a gated dataset"),
                r"=a/b: the hub has no such .* a login \(Dataset",
            ),
            (DatasetNotFoundError("Revision 'x' doesn't exist"), r"data\.revision=x: data\.dataset=a/b has no such"),
            (OSError(28, "No space left on device"), r"cannot be stored in .*cache \(No space left on device\)"),
        ):
            hub.answer = error
            with pytest.raises(UserError, match=message):
                found(cache, dataset="a/b", revision="x")


class TestStore:
    """Reading that is interrupted continues with the document after the last file that is complete."""

    @pytest.fixture(autouse=True)
    def small_files(self, monkeypatch):
        monkeypatch.setattr(stored_texts, "_PART", 500)
        monkeypatch.setattr(stored_texts, "_ROWS", 7)

    def rows(self, path):
        import datasets

        data = datasets.load_dataset("json", data_files=str(path), split="train", streaming=True)
        return data.select_columns(["text"]).with_format("arrow")

    def test_equals_an_uninterrupted_one(self, tmp_path, monkeypatch):
        path = json_lines(
            tmp_path / "a.jsonl", [None if number % 50 == 0 else text for number, text in enumerate(TEXTS)]
        )
        with ProgressBar("", None, False) as bar:
            stored_texts.store(self.rows(path), tmp_path / "whole", bar, limit=290)
            steps = 0
            for interruption in (20, 3, 1, 40):
                left = [interruption]

                def stop(left=left):
                    left[0] -= 1
                    if left[0] < 0:
                        raise Interrupted("told to stop")

                with monkeypatch.context() as patch:
                    patch.setattr(stored_texts.signals, "check", stop)
                    try:
                        stored_texts.store(self.rows(path), tmp_path / "resumed", bar, limit=290)
                    except Interrupted:
                        steps += 1
            stored_texts.store(self.rows(path), tmp_path / "resumed", bar, limit=290)
        assert steps >= 3
        whole, resumed = (stored_texts.StoredTexts(tmp_path / name) for name in ("whole", "resumed"))
        assert list(resumed) == list(whole) == [text for number, text in enumerate(TEXTS[:290]) if number % 50]
        assert (resumed.fingerprint, resumed.rows, resumed.without_text) == (whole.fingerprint, 290, 6)
        assert not list(tmp_path.glob(".*"))

    def test_a_failed_connection_keeps_what_is_complete(self, tmp_path, cache, monkeypatch):
        path = json_lines(tmp_path / "a.jsonl")
        left = [20]

        def fail():
            left[0] -= 1
            if left[0] == 0:
                raise ConnectionError("connection lost")

        with monkeypatch.context() as patch, pytest.raises(UserError, match=r"cannot be reached \(connection lost\)"):
            patch.setattr(stored_texts.signals, "check", fail)
            found(cache, files=str(path))
        assert len(list((cache / "downloads" / "hugging_face").glob(".hf-*.tmp/*.parquet"))) > 2
        texts = texts_of(found(cache, files=str(path)))
        assert sorted(text for part in texts.values() for text in part) == sorted(TEXTS)

    def test_no_folders_are_left_besides_the_texts(self, tmp_path, cache):
        found(cache, files=str(json_lines(tmp_path / "a.jsonl")))
        assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []
