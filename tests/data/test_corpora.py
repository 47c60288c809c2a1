import dataclasses
import hashlib
import inspect
import os
import re
from pathlib import Path

import pytest

from lmlab.data.corpora import StandardLibrary, Text, WholeText, files, inspector
from lmlab.data.corpora.standard_library import split_of
from lmlab.data.preparation import prepare
from lmlab.data.tokenizers import Word
from lmlab.errors import UserError

TEXT = "To be, or not to be,\nthat is the question.\n"


def found(corpus, corpora=None, cache=Path("nowhere")):
    corpus.find(corpora, cache)
    return corpus


@pytest.fixture(scope="module")
def library():
    return found(StandardLibrary())


class TestStandardLibrary:
    def test_size_and_shares(self, library):
        sizes = {split: sum(len(text.encode()) for text in library.documents(split)) for split in library.splits}
        total = sum(sizes.values())
        assert 8e6 < total < 16e6
        assert 0.80 < sizes["train"] / total < 0.97
        assert sizes["validation"] > 0.01 * total
        assert sizes["test"] > 0.01 * total

    def test_splits_share_no_document(self, library):
        documents = [text for split in library.splits for text in library.documents(split)]
        assert len(documents) == len(set(documents)) > 300

    def test_holds_the_librarys_code_but_not_its_tests(self, library):
        documents = {text for split in library.splits for text in library.documents(split)}
        assert inspect.getsource(dataclasses) in documents
        root = Path(dataclasses.__file__).parent
        tests = [path for path in (root / "unittest" / "test", root / "test" / "support") if path.is_dir()]
        for path in (path for folder in tests for path in folder.glob("*.py") if path.stat().st_size):
            assert path.read_text() not in documents

    def test_is_deterministic(self, library):
        again = found(StandardLibrary())
        assert again.fingerprint() == library.fingerprint()
        assert list(again.documents("test")) == list(library.documents("test"))

    def test_share_of_held_out_paths(self):
        splits = [split_of(f"package/module_{number}.py") for number in range(10_000)]
        assert abs(splits.count("validation") - 500) < 4 * (10_000 * 0.05 * 0.95) ** 0.5
        assert abs(splits.count("test") - 500) < 4 * (10_000 * 0.05 * 0.95) ** 0.5


class TestText:
    LINES = "".join(f"line {number}\n" for number in range(1000))

    def test_one_file_is_cut_at_line_ends(self, tmp_path):
        (tmp_path / "a.txt").write_text(self.LINES)
        corpus = found(Text(str(tmp_path / "a.txt"), validation=0.1, test=0.2))
        parts = [next(corpus.documents(split)) for split in ("train", "validation", "test")]
        assert "".join(parts) == self.LINES
        assert all(part.endswith("\n") for part in parts)
        shares = [len(part) / len(self.LINES) for part in parts]
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.002)

    def test_text_without_lines_is_cut_all_the_same(self, tmp_path):
        (tmp_path / "a.txt").write_text("abcdefghij" * 10)
        corpus = found(Text(str(tmp_path / "a.txt"), validation=0.1, test=0.1))
        assert [len(next(corpus.documents(split))) for split in corpus.splits] == [80, 10, 10]

    @staticmethod
    def in_splits(corpus: Text) -> dict[str, str]:
        return {document: split for split in corpus.splits for document in corpus.documents(split)}

    def test_a_hash_of_its_text_assigns_a_document_to_a_split_that_further_files_do_not_change(self, tmp_path):
        for number in range(300):
            (tmp_path / f"{number}.txt").write_text(f"document {number}")
        splits = self.in_splits(found(Text(str(tmp_path))))
        for text, split in splits.items():
            place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
            assert split == ("validation" if place < 0.05 else "test" if place < 0.1 else "train")
        assert len(splits) == 300
        for number in range(300, 500):
            (tmp_path / f"a{number}.txt").write_text(f"document {number}")
        assert splits.items() <= self.in_splits(found(Text(str(tmp_path)))).items()

    def test_held_out_splits_without_a_hash_in_their_share_have_the_nearest(self, tmp_path):
        for number in range(20):
            (tmp_path / f"{number}.txt").write_text(f"document {number}")
        corpus = found(Text(str(tmp_path), validation=1e-9, test=1e-9))
        by_hash = sorted(
            (f"document {number}" for number in range(20)), key=lambda text: hashlib.sha256(text.encode()).digest()
        )
        assert self.in_splits(corpus) == {
            by_hash[0]: "validation",
            by_hash[1]: "test",
            **dict.fromkeys(by_hash[2:], "train"),
        }
        assert "validation and test have no document" in corpus.notes[-1]

    @pytest.mark.parametrize("trace", ["cache/files.json", "runs/lstm-text-0123456789/run.json"])
    @pytest.mark.parametrize("texts", [["a.txt"], ["ptb.train.txt", "ptb.valid.txt"]])
    def test_outputs_in_the_folder_are_no_part_of_the_text(self, tmp_path, texts, trace):
        for number, name in enumerate(texts):
            (tmp_path / name).write_text(TEXT * (30 + number))
        before = Text(str(tmp_path)).checksum(Path("nowhere"))
        (tmp_path / "results" / trace).parent.mkdir(parents=True)
        (tmp_path / "results" / trace).write_text("{}")
        (tmp_path / "results" / "log.txt").write_text("what a run has printed")
        assert Text(str(tmp_path)).checksum(Path("nowhere")) == before

    def test_folder_passes_over_hidden_empty_binary_and_equal_files(self, tmp_path):
        (tmp_path / "sub" / ".git").mkdir(parents=True)
        (tmp_path / "sub" / ".git" / "config").write_text("hidden")
        (tmp_path / ".hidden").write_text("hidden")
        (tmp_path / "empty.txt").write_text("")
        (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\0\xff")
        (tmp_path / "sub" / "a.md").write_text(self.LINES)
        (tmp_path / "b.txt").write_text(self.LINES)
        corpus = found(Text(str(tmp_path)))
        assert "".join(next(corpus.documents(split)) for split in corpus.splits) == self.LINES
        assert len(list(corpus.documents("train"))) == 1

    def test_line_ends_are_kept(self, tmp_path):
        content = "".join(f"{number}\r\n" for number in range(100)).encode()
        (tmp_path / "dos.txt").write_bytes(content)
        corpus = found(Text(str(tmp_path / "dos.txt")))
        assert "".join(next(corpus.documents(split)) for split in corpus.splits).encode() == content

    def test_home_is_expanded(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "a.txt").write_text(self.LINES)
        assert next(found(Text("~/a.txt")).documents("train")).startswith("line 0\n")

    def test_fingerprint_follows_content_and_shares_but_not_place(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).write_text(self.LINES)
        one, moved = (found(Text(str(tmp_path / name))).fingerprint() for name in ("a", "b"))
        assert one == moved
        assert one != found(Text(str(tmp_path / "a"), validation=0.1)).fingerprint()
        (tmp_path / "a").write_text(self.LINES.replace("line 7\n", "line 8\n"))
        assert one != found(Text(str(tmp_path / "a"))).fingerprint()

    def test_invalid_utf8_names_file_and_offset(self, tmp_path):
        (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
        with pytest.raises(UserError, match=r"latin\.txt is not UTF-8: byte 0xef at offset 2"):
            found(Text(str(tmp_path / "latin.txt")))

    def test_missing_empty_and_unsuitable_paths(self, tmp_path):
        (tmp_path / "book.txt").write_text("")
        (tmp_path / "folder").mkdir()
        (tmp_path / "x.txt").write_text("x")
        for paths, message in (
            (str(tmp_path / "bok.txt"), r"there is no .*bok\.txt \(did you mean 'book\.txt'\?\)"),
            (str(tmp_path / "book.txt"), r"book\.txt is empty"),
            (str(tmp_path / "folder"), "holds no text file"),
            (str(tmp_path / "x.txt"), "too little text"),
            ([], "at least one file"),
            ("", "a name is empty"),
        ):
            with pytest.raises(UserError, match=message):
                found(Text(paths))

    def test_too_little_text_says_how_much_there_is_and_what_to_change(self, tmp_path):
        (tmp_path / "x.txt").write_text("x")
        with pytest.raises(UserError, match=r"there is 1 character, a share of 0\.04 .* about 25; .* data\.validation"):
            found(Text(str(tmp_path / "x.txt"), validation=0.04))

    def test_text_of_few_lines_is_cut_within_them(self, tmp_path):
        text = "".join(letter * 39 + "\n" for letter in "abcde")  # 5 % of it end in the line that 10 % of it begin in
        (tmp_path / "a.txt").write_text(text)
        corpus = found(Text(str(tmp_path / "a.txt")))
        splits = [next(corpus.documents(split)) for split in corpus.splits]
        assert "".join(splits) == text and [len(split) for split in splits] == [180, 10, 10]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
    def test_encodings_with_a_byte_order_mark_are_one_text(self, tmp_path, encoding, monkeypatch):
        monkeypatch.setattr(files, "_CHUNK", 7)  # which cuts characters
        text = "".join(f"{number} naïve \U0001f600\r\n" for number in range(100))
        (tmp_path / "a.txt").write_bytes(("\ufeff" * (encoding == "utf-16-be") + text).encode(encoding))
        corpus = found(Text(str(tmp_path / "a.txt")))
        assert "".join(next(corpus.documents(split)) for split in corpus.splits) == text
        fingerprint = corpus.fingerprint()
        (tmp_path / "folder").mkdir()
        (tmp_path / "a.txt").rename(tmp_path / "folder" / "a.txt")
        assert found(Text(str(tmp_path / "folder"))).fingerprint() == fingerprint

    def test_utf16_without_a_mark_is_refused(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(self.LINES.encode("utf-16-le"))
        with pytest.raises(UserError, match=r"a\.txt is binary, or UTF-16 without a byte order mark"):
            found(Text(str(tmp_path / "a.txt")))

    def test_offset_of_a_wrong_byte_counts_from_the_beginning_of_the_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "_CHUNK", 4)
        (tmp_path / "a.txt").write_bytes("\ufeffabcdé".encode() + b"\xef")
        with pytest.raises(UserError, match=r"is not UTF-8: byte 0xef at offset 9"):
            found(Text(str(tmp_path / "a.txt")))

    def test_folder_says_what_it_passes_over(self, tmp_path):
        (tmp_path / "text" / ".git").mkdir(parents=True)
        (tmp_path / "text" / ".git" / "config").write_text("hidden")
        for name, content in {"a": self.LINES, "b": self.LINES, "empty": "", "binary": "a\0b"}.items():
            (tmp_path / "text" / name).write_text(content)
        (tmp_path / "text" / "latin").write_bytes("naïve".encode("latin-1"))
        (tmp_path / "text" / "broken").symlink_to("nowhere")
        corpus = found(Text(str(tmp_path / "text")))
        assert corpus.notes[0] == (
            "data.paths: 1 file read; passed over: 1 binary (binary), 1 empty (empty), 1 equal to another (b), "
            "1 hidden (.git), 1 neither file nor folder (broken), 1 not UTF-8 (latin)"
        )
        (tmp_path / "text" / "a").rename(tmp_path / "a")
        notes = found(Text(str(tmp_path / "a"))).notes
        assert notes[0] == "data.paths: 1 file read" and "fewer than 20 documents" in notes[1]

    def test_linked_folders_are_read_once_and_without_end(self, tmp_path):
        for name in ("text", "outside"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a.txt").write_text(f"{name}\n{self.LINES}")
        (tmp_path / "text" / "link").symlink_to(tmp_path / "outside")
        (tmp_path / "text" / "loop").symlink_to(tmp_path / "text")
        (tmp_path / "outside" / "back").symlink_to(tmp_path / "text")
        corpus = found(Text(str(tmp_path / "text")))
        assert [document.split("\n")[0] for document in corpus.documents("train")] == ["text", "outside"]

    def test_file_is_read_again_only_when_it_has_changed(self, tmp_path):
        (tmp_path / "a.txt").write_text(self.LINES)
        os.utime(tmp_path / "a.txt", (1e9, 1e9))  # what has just changed may change again within a tick of the clock
        before = Text(str(tmp_path / "a.txt")).checksum(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inspector, "inspect", None)
            assert Text(str(tmp_path / "a.txt")).checksum(tmp_path) == before
        (tmp_path / "a.txt").write_text(self.LINES.upper())  # of the same size
        assert Text(str(tmp_path / "a.txt")).checksum(tmp_path) != before

    @pytest.mark.parametrize("shares", [(0.0, 0.1), (1.0, 0.0), (0.5, 0.5), (0.1, -0.1)])
    def test_impossible_shares(self, shares):
        with pytest.raises(UserError, match=r"data\.(validation|test)="):
            Text("a.txt", *shares)

    def test_no_test_split_on_request(self, tmp_path):
        (tmp_path / "a.txt").write_text(self.LINES)
        assert found(Text(str(tmp_path / "a.txt"), test=0)).splits == ("train", "validation")


class TestSplits:
    """Text that is in splits already."""

    NAMES = {"train": "train", "validation": "valid", "test": "test"}

    def lay_out(self, folder: Path, form: str) -> dict[str, str]:
        paths = {split: folder / form.format(name) for split, name in self.NAMES.items()}
        for split, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"text of {split}\n")
        return {split: str(path) for split, path in paths.items()}

    def expect_splits(self, corpus):
        for split in self.NAMES:
            assert list(corpus.documents(split)) == [f"text of {split}\n"]

    def test_paths_by_split_are_not_cut(self, tmp_path):
        paths = self.lay_out(tmp_path, "{}.txt")
        self.expect_splits(
            found(Text({"test": paths["test"], "validation": [paths["validation"]], "train": paths["train"]}))
        )
        del paths["test"]
        assert found(Text(paths)).splits == ("train", "validation")

    @pytest.mark.parametrize(("option", "share"), [("validation", 0.2), ("test", 0.0)])
    def test_shares_beside_splits_of_their_own_are_refused(self, tmp_path, option, share):
        for split in ("train", "validation"):
            (tmp_path / f"{split}.txt").write_text("text\n")
        by_split = {split: str(tmp_path / f"{split}.txt") for split in ("train", "validation")}
        for paths in (by_split, str(tmp_path)):
            Text(paths).check()
            with pytest.raises(UserError, match=rf"data.{option}={share:g}: changes nothing, .* \(train, validation\)"):
                Text(paths, **{option: share}).check()
        Text(by_split["train"], **{option: share}).check()

    @pytest.mark.parametrize(
        "form",
        ["ptb.{}.txt", "{}.txt", "wiki.{}.raw", "{}/a.txt", "{}-00000-of-00001.txt", "{}set (1).txt", "ptb.{}/a.txt"],
    )
    def test_folder_of_files_named_like_splits_has_those_splits_and_says_so(self, tmp_path, form):
        self.lay_out(tmp_path / "corpus", form)
        (tmp_path / "corpus" / "README.md").write_text("about")
        corpus = found(Text(str(tmp_path / "corpus")))
        self.expect_splits(corpus)
        splits, read = corpus.notes
        assert "used as splits by their names" in splits and read == "data.paths: 3 files read"

    def test_splits_whose_names_have_nothing_else_in_common(self, tmp_path):
        (tmp_path / "train").mkdir()
        for name in ("train/a.txt", "wiki.eval.raw", "test.txt"):
            (tmp_path / name).write_text(name)
        corpus = found(Text(str(tmp_path)))
        assert [next(corpus.documents(split)) for split in corpus.splits] == [
            "train/a.txt",
            "wiki.eval.raw",
            "test.txt",
        ]

    def test_splits_beside_other_files_are_refused_with_the_form_to_write(self, tmp_path):
        paths = self.lay_out(tmp_path, "{}.txt")
        (tmp_path / "notes.txt").write_text("notes")
        options = f"data.train={paths['train']} data.validation={paths['validation']} data.test={paths['test']}"
        with pytest.raises(UserError, match=re.escape(options)):
            found(Text(str(tmp_path)))

    def test_train_and_test_without_validation_are_refused(self, tmp_path):
        Path(self.lay_out(tmp_path, "{}.txt")["validation"]).unlink()
        with pytest.raises(UserError, match=r"none for validation.*data\.validation=FILE"):
            found(Text(str(tmp_path)))

    def test_listed_and_nested_ones_are_mixed_but_not_in_silence(self, tmp_path):
        paths = self.lay_out(tmp_path / "a" / "b", "{}.txt")
        for mixed in (list(paths.values()), str(tmp_path / "a")):
            note = found(Text(mixed, validation=0.3, test=0.3)).notes[0]
            assert "cut and mixed" in note and f"data.train={paths['train']}" in note

    def test_names_that_only_resemble_splits_are_ordinary_files(self, tmp_path):
        for name in ("training_day.txt", "test_of_time.txt", "train.md", "contest.txt"):
            (tmp_path / name).write_text(f"{name}\n" * 100)
        corpus = found(Text(str(tmp_path)))
        assert corpus.notes[0] == "data.paths: 4 files read" and len(list(corpus.documents("train"))) == 4

    def test_file_of_two_splits_is_noted(self, tmp_path):
        (tmp_path / "a.txt").write_text("same\n")
        _, note = found(Text({"train": str(tmp_path / "a.txt"), "validation": str(tmp_path / "a.txt")})).notes
        assert "validation has 1 file of train" in note

    @pytest.mark.parametrize(
        ("paths", "message"),
        [
            ({"train": "a", "valid": "b"}, r"data\.paths\.valid: no such split \(did you mean 'validation'\?\)"),
            ({"train": "a"}, r"data\.validation has no value"),
            ({"train": "a", "validation": 3}, r"data\.validation=3: expected a file or folder"),
            ({"train": "a", "validation": []}, r"data\.validation=\[\]: expected at least one"),
        ],
    )
    def test_what_is_no_set_of_splits(self, paths, message):
        with pytest.raises(UserError, match=message):
            Text(paths)

    def test_checksum_follows_content_and_splits_but_not_place(self, tmp_path):
        first, second = (self.lay_out(tmp_path / name, f"{name}.{{}}.txt") for name in ("one", "two"))
        checksum = Text(first).checksum(tmp_path)
        assert Text(second).checksum(tmp_path) == Text(str(tmp_path / "two")).checksum(tmp_path) == checksum
        swapped = {"train": first["validation"], "validation": first["train"], "test": first["test"]}
        assert Text(swapped).checksum(tmp_path) != checksum
        assert Text(list(first.values())).checksum(tmp_path) != checksum

    def test_words_of_own_splits_are_counted_as_published(self, tmp_path, corpora):
        """The counts of WikiText-2, by the options that a user gives for the Penn Treebank."""
        paths = {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"}
        paths = {split: str(corpora / "wikitext-2" / name) for split, name in paths.items()}
        corpus = prepare(Text(paths), Word(), tmp_path, progress=False)
        assert [corpus.count(split) for split in corpus.splits] == [2_088_628, 217_646, 245_569]
        assert corpus.tokenizer.size == 33_278


def test_whole_text_is_one_split(tmp_path):
    for name in ("train.txt", "valid.txt"):
        (tmp_path / name).write_text(f"text of {name}")
    corpus = found(WholeText(str(tmp_path)))
    assert corpus.splits == ("text",)
    assert list(corpus.documents("text")) == ["text of train.txt", "text of valid.txt"]
