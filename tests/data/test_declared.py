"""Corpora that are declared by address and checksum, on files of the same form as theirs."""

import hashlib
import io
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.corpora import (
    DeclaredCorpus,
    Enwik8,
    Lambada,
    Part,
    PennTreebank,
    Published,
    RemoteFile,
    Text8,
    TinyShakespeare,
    WikiText2,
    WikiText103,
    declared,
)
from lmlab.data.preparation import prepare
from lmlab.data.tokenizers import Byte, Character, Word
from lmlab.errors import UserError

CORPORA = [Enwik8, Lambada, PennTreebank, Text8, TinyShakespeare, WikiText2, WikiText103]
LINES = "the <unk> sat \n a cat \n the end \n"


def found(corpus, corpora=None, cache=Path("nowhere")):
    corpus.find(corpora, cache)
    return corpus


def publish(folder: Path, content: bytes, path: str = "small/text.txt") -> RemoteFile:
    """A declared file in a folder of corpora."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return RemoteFile("http://nowhere", hashlib.sha256(content).hexdigest(), path)


class Small(DeclaredCorpus):
    """Two splits of one file, with the counts of the word tokenizer."""

    name = "small"
    licence = "none"
    splits = ("train", "validation")

    def __init__(self, file: RemoteFile, *published: Published) -> None:
        self.files = (file,)
        self.parts = {"train": Part(file, end=24), "validation": Part(file, first=24)}
        self.published = published


class TestDeclarations:
    @pytest.mark.parametrize("corpus", CORPORA)
    def test_names_licence_files_and_published_counts(self, corpus):
        assert corpus.name and corpus.licence and corpus.published
        assert len({file.path for file in corpus.files}) == len(corpus.files)
        for file in corpus.files:
            assert file.address.startswith("https://") and len(bytes.fromhex(file.sha256)) == 32
            assert not Path(file.path).is_absolute()
        for published in corpus.published:
            assert tuple(published.counts) == corpus.splits

    @pytest.mark.parametrize("corpus", [Enwik8, Text8, TinyShakespeare])
    def test_parts_of_one_file_follow_each_other(self, corpus):
        parts = [corpus.parts[split] for split in corpus.splits]
        assert parts[0].first == 0 and parts[-1].end is None
        assert all(one.end == other.first for one, other in pairwise(parts))
        counts = corpus.published[0].counts
        assert all(
            counts[split] == part.end - part.first for split, part in zip(corpus.splits, parts[:-1], strict=False)
        )


class TestRealCorpora:
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

    def test_the_counts_of_tiny_shakespeare_are_those_published(self, corpora, tmp_path, monkeypatch):
        assert prepare(TinyShakespeare(), Character(), tmp_path, corpora, progress=False).count("train") == 1_003_854
        wrong = Published({"train": 1_003_854, "validation": 111_541}, tokenizer="Character")
        monkeypatch.setattr(TinyShakespeare, "published", (wrong,))
        with pytest.raises(UserError, match=r"validation split has 111,540 tokens, the published number is 111,541"):
            prepare(TinyShakespeare(), Character(), tmp_path / "other", corpora, progress=False)


class TestPart:
    @given(st.text(max_size=40), st.lists(st.integers(0, 160), max_size=3), st.integers(1, 9))
    def test_parts_join_to_the_text_wherever_they_are_cut(self, tmp_path_factory, text, cuts, chunk):
        path = tmp_path_factory.mktemp("part") / "a.txt"
        path.write_bytes(text.encode())
        bounds = [0, *sorted(cuts), None]
        file = RemoteFile("", "", "")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(declared, "_CHUNK", chunk)
            parts = ["".join(Part(file, None, first, end).read(path)) for first, end in pairwise(bounds)]
        assert "".join(parts) == text
        for (first, end), part in zip(pairwise(bounds), parts, strict=True):  # a cut moves by no more than a character
            size = len(text.encode()[first:end])
            assert abs(len(part.encode()) - size) <= 3

    def test_is_read_from_a_zip_archive(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/other.txt", "other")
            archive.writestr("folder/a.txt", "naïve text\r\n" * 1000)
        file = RemoteFile("", "", "")
        text = "".join(Part(file, "folder/a.txt", 13, 26).read(tmp_path / "a.zip"))
        assert text == "naïve text\r\n"

    def test_bytes_that_are_no_text_are_named(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"abc\xff")
        with pytest.raises(UserError, match=r"a\.txt is not UTF-8 \(invalid start byte, byte 0xff\)"):
            list(Part(RemoteFile("", "", "")).read(tmp_path / "a.txt"))


class TestPublished:
    COUNTS = Published({"train": 8, "validation": 3}, tokenizer="Word", types=6)

    def prepare(self, tmp_path, tokenizer, *published):
        corpus = Small(publish(tmp_path / "corpora", LINES.encode()), *published)
        return prepare(corpus, tokenizer, tmp_path / "cache", tmp_path / "corpora", progress=False)

    def test_equal_counts_are_accepted_and_the_files_recorded(self, tmp_path):
        described = self.prepare(tmp_path, Word(), self.COUNTS).describe()
        assert {split: counts["tokens"] for split, counts in described["splits"].items()} == self.COUNTS.counts
        digest = hashlib.sha256(LINES.encode()).hexdigest()
        assert described["provenance"] == {"files": [{"address": "http://nowhere", "sha256": digest}]}

    @pytest.mark.parametrize(
        ("published", "message"),
        [
            (Published({"train": 9}, tokenizer="Word"), "train split has 8 tokens, the published number is 9"),
            (Published({"validation": 10}, "bytes"), "validation split has 9 bytes, the published number is 10"),
            (Published({"train": 2}, "documents"), "train split has 1 documents, the published number is 2"),
            (Published({}, tokenizer="Word", types=7), "vocabulary has 6 types, the published number is 7"),
        ],
    )
    def test_another_count_is_an_error_with_both_numbers_and_leaves_nothing(self, tmp_path, published, message):
        with pytest.raises(UserError, match=f"data=small: .*{message}"):
            self.prepare(tmp_path, Word(), published)
        assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]

    def test_counts_of_other_tokenizers_and_of_smaller_vocabularies_are_not_compared(self, tmp_path):
        wrong = Published({"train": 9}, tokenizer="Word")
        assert self.prepare(tmp_path, Byte(), wrong).count("train") == 24
        assert self.prepare(tmp_path, Word(5), self.COUNTS).tokenizer.size == 5

    def test_a_count_may_differ_as_far_as_the_split_rule_permits(self, tmp_path):
        assert self.prepare(tmp_path, Byte(), Published({"train": 26}, "bytes", within=2)).bytes("train") == 24

    def test_penn_treebanks_form_gives_a_token_per_word_and_line(self, tmp_path):
        """The real text is not free; its published counts are compared when it is prepared."""
        (tmp_path / "a.txt").write_text(" no it was n't black monday \n but while the <unk> did n't fall N points \n")
        corpus = found(Small(publish(tmp_path, (tmp_path / "a.txt").read_bytes())), tmp_path)
        corpus.parts = {"train": Part(corpus.files[0])}
        (text,) = corpus.documents("train")
        tokenizer = Word()
        tokenizer.fit([text])
        assert len(tokenizer.encode(text)) == len(text.split()) + text.count("\n") == 17
        assert tokenizer.size == len(set(text.split()) | {"<unk>", "<eos>"}) == 15


class TestFingerprint:
    def test_is_computed_once(self, tmp_path, monkeypatch):
        file = publish(tmp_path / "corpora", LINES.encode())
        (tmp_path / "cache").mkdir()
        fingerprint = found(Small(file), tmp_path / "corpora", tmp_path / "cache").fingerprint()
        monkeypatch.setattr(Small, "chunks", None)
        assert found(Small(file), tmp_path / "corpora", tmp_path / "cache").fingerprint() == fingerprint


class TestLambada:
    @pytest.fixture
    def corpus(self, tmp_path, monkeypatch):
        """An archive of the form of LAMBADA's: passages a line, and novels in an archive within it."""

        def archived(files: dict[str, bytes], mode: str) -> bytes:
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode=mode) as archive:
                for name, data in files.items():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
            return content.getvalue()

        novels = {"train-novels/A/one.txt": b"\nfirst novel \n", "train-novels/B/two.txt": "zweite Größe".encode()}
        files = {
            "lambada_test_plain_text.txt": b"a test passage\nanother one\n",
            "train-novels.tar": archived(novels, "w"),
            "lambada_development_plain_text.txt": b"a passage\n",
        }
        file = publish(tmp_path, archived(files, "w:gz"), "lambada/lambada-dataset.tar.gz")
        monkeypatch.setattr(Lambada, "files", (file,))
        return found(Lambada(), tmp_path)

    def test_documents_are_novels_and_passages(self, corpus):
        assert {split: list(corpus.documents(split)) for split in corpus.splits} == {
            "train": ["first novel", "zweite Größe"],
            "validation": ["a passage"],
            "test": ["a test passage", "another one"],
        }

    def test_fewer_passages_than_published_are_an_error(self, corpus, tmp_path):
        with pytest.raises(UserError, match=r"lambada_text: the train split has 2 documents, the published .* 2,662"):
            prepare(corpus, Byte(), tmp_path / "cache", tmp_path, progress=False)
