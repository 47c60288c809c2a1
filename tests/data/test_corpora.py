import dataclasses
import hashlib
import inspect
from pathlib import Path

import pytest

from lmlab.data.corpora import RemoteFile, StandardLibrary, Text, TinyShakespeare, WikiText2
from lmlab.data.corpora.standard_library import split_of
from lmlab.errors import UserError

TEXT = "To be, or not to be,\nthat is the question.\n"


def found(corpus, corpora=None, cache=Path("nowhere")):
    corpus.find(corpora, cache)
    return corpus


def remote(folder: Path, text: str = TEXT, sha256: str | None = None) -> RemoteFile:
    """A declared file that is published at a file:// address."""
    published = folder / "published.txt"
    published.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return RemoteFile(published.as_uri(), sha256 or digest, "plays/hamlet.txt")


class TestRemoteFile:
    def test_is_downloaded_once_and_then_found(self, tmp_path):
        file = remote(tmp_path)
        path = file.find(None, tmp_path / "cache", progress=False)
        assert path.read_text() == TEXT
        (tmp_path / "published.txt").unlink()
        assert file.find(None, tmp_path / "cache", progress=False) == path

    def test_prefers_the_users_folder(self, tmp_path):
        file = remote(tmp_path)
        own = tmp_path / "corpora" / "plays" / "hamlet.txt"
        own.parent.mkdir(parents=True)
        own.write_text(TEXT)
        assert file.find(tmp_path / "corpora", tmp_path / "cache", progress=False) == own
        assert not (tmp_path / "cache").exists()

    def test_corrupt_local_file_is_named_with_both_checksums(self, tmp_path):
        file = remote(tmp_path)
        own = tmp_path / "corpora" / "plays" / "hamlet.txt"
        own.parent.mkdir(parents=True)
        own.write_text(TEXT[:-1])
        with pytest.raises(UserError) as error:
            file.find(tmp_path / "corpora", tmp_path / "cache", progress=False)
        for part in (str(own), file.sha256, hashlib.sha256(TEXT[:-1].encode()).hexdigest(), "corrupt"):
            assert part in str(error.value)

    def test_wrong_download_leaves_nothing(self, tmp_path):
        file = remote(tmp_path, sha256="0" * 64)
        with pytest.raises(UserError, match=r"not the file that was expected.*LMLAB_CORPORA.*plays/hamlet\.txt"):
            file.find(None, tmp_path / "cache", progress=False)
        assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []

    def test_offline_says_what_to_do(self, tmp_path):
        file = remote(tmp_path)
        (tmp_path / "published.txt").unlink()
        with pytest.raises(UserError, match=r"could not be downloaded.*LMLAB_CORPORA.*plays/hamlet\.txt"):
            file.find(None, tmp_path / "cache", progress=False)
        assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []

    def test_missing_corpora_folder_is_an_error(self, tmp_path):
        with pytest.raises(UserError, match=r"paths\.corpora=.*no such folder"):
            remote(tmp_path).find(tmp_path / "corpra", tmp_path / "cache", progress=False)


class TestDeclared:
    def test_tiny_shakespeare_is_split_as_usual(self, corpora):
        corpus = found(TinyShakespeare(), corpora)
        train, validation = (next(corpus.documents(split)) for split in ("train", "validation"))
        text = (corpora / "tinyshakespeare" / "input.txt").read_text()
        assert (len(train), len(validation)) == (1_003_854, 111_540)
        assert train + validation == text
        assert corpus.splits == ("train", "validation")

    def test_wikitext2_is_byte_exact(self, corpora):
        corpus = found(WikiText2(), corpora)
        for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
            (document,) = corpus.documents(split)
            assert document.encode() == (corpora / "wikitext-2" / f"{name}.txt").read_bytes()


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

    def test_many_files_are_held_out_whole_and_independently_of_their_names(self, tmp_path):
        splits = []
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            for number in range(40):
                (tmp_path / folder / f"{folder}-{number:02}.txt").write_text(f"document {number}")
            corpus = found(Text([str(tmp_path / folder)]))
            splits.append({split: list(corpus.documents(split)) for split in corpus.splits})
        assert splits[0] == splits[1]
        assert {split: len(documents) for split, documents in splits[0].items()} == {
            "train": 36,
            "validation": 2,
            "test": 2,
        }
        assert sorted(text for split in splits[0].values() for text in split) == sorted(
            f"document {number}" for number in range(40)
        )

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
        ):
            with pytest.raises(UserError, match=message):
                found(Text(paths))

    @pytest.mark.parametrize("shares", [(0.0, 0.1), (1.0, 0.0), (0.5, 0.5), (0.1, -0.1)])
    def test_impossible_shares(self, shares):
        with pytest.raises(UserError, match=r"data\.(validation|test)="):
            Text("a.txt", *shares)

    def test_no_test_split_on_request(self, tmp_path):
        (tmp_path / "a.txt").write_text(self.LINES)
        assert found(Text(str(tmp_path / "a.txt"), test=0)).splits == ("train", "validation")
