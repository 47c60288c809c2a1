import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sys
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from lmlab.data.corpora import Text, WholeText, files
from lmlab.data.corpora import records as file_records
from lmlab.data.corpora.documents import Form, Passage, RecordFile, inspect
from lmlab.data.corpora.files import TextFile, Unreadable, stamp_of
from lmlab.errors import UserError

TEXTS = [f'{number} naïve\U0001f600,;\t"quoted"\r\nline\n' for number in range(50)]
PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def as_csv(texts: list[str], separator: str) -> bytes:
    content = io.StringIO(newline="")
    rows = csv.writer(content, delimiter=separator)
    rows.writerow(["id", "text"])
    rows.writerows(enumerate(texts))
    return content.getvalue().encode()


def as_parquet(texts: list[str]) -> bytes:
    content = io.BytesIO()
    table = pyarrow.table({"id": range(len(texts)), "text": texts})
    parquet.write_table(table, content, row_group_size=7)
    return content.getvalue()


FORMS = {
    ".jsonl": lambda texts: "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts).encode(),
    ".ndjson": lambda texts: "\r\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode(),
    ".json": lambda texts: json.dumps([{"id": 1, "text": text} for text in texts], indent=2).encode(),
    ".lines.json": lambda texts: "".join(json.dumps({"text": text}) + "\n" for text in texts).encode(),
    ".csv": lambda texts: as_csv(texts, ","),
    ".semicolons.csv": lambda texts: as_csv(texts, ";"),
    ".tsv": lambda texts: as_csv(texts, "\t"),
    ".parquet": as_parquet,
}


def inspected(path: Path, **form):
    return inspect(path, stamp_of(path), Form(**form))


def texts_of(path: Path, **form) -> list[str]:
    content = inspected(path, **form)
    assert isinstance(content, RecordFile), content
    return ["".join(document.read()) for document in content.documents()]


def refused(path: Path, **form) -> str:
    content = inspected(path, **form)
    assert isinstance(content, Unreadable), content
    return content.message


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestRecords:
    @pytest.mark.parametrize("chunk", [5, 1 << 20])
    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_has_the_same_documents(self, tmp_path, monkeypatch, form, chunk):
        monkeypatch.setattr(files, "_CHUNK", chunk)
        path = write(tmp_path / f"a{form}", FORMS[form](TEXTS))
        assert texts_of(path) == TEXTS
        content, lines = inspected(path), inspected(write(tmp_path / "b.jsonl", FORMS[".jsonl"](TEXTS)))
        assert content.sha256 == lines.sha256 and content.number == 50

    @pytest.mark.parametrize("packed", PACK)
    @pytest.mark.parametrize("form", [".txt", ".jsonl", ".csv", ".json"])
    def test_every_compression_is_unpacked_in_passing(self, tmp_path, form, packed):
        plain = "".join(TEXTS).encode() if form == ".txt" else FORMS[form](TEXTS)
        content = inspected(write(tmp_path / f"a{form}{packed}", PACK[packed](plain)))
        assert content.sha256 == inspected(write(tmp_path / f"a{form}", plain)).sha256
        assert "".join("".join(document.read()) for document in content.documents()) == "".join(TEXTS)

    @pytest.mark.parametrize("packed", PACK)
    def test_parts_that_are_compressed_one_by_one_are_one_text(self, tmp_path, packed):
        path = write(tmp_path / f"a.txt{packed}", PACK[packed](b"one\n") + PACK[packed](b"two\n"))
        assert "".join(inspected(path).read()) == "one\ntwo\n"

    @pytest.mark.parametrize("cut", [1, 9, 40])
    @pytest.mark.parametrize("packed", PACK)
    def test_a_damaged_file_is_named_whatever_is_missing(self, tmp_path, packed, cut):
        content = PACK[packed](os.urandom(20_000).hex().encode())
        for damaged in (content[:-cut], content[:100] + b"damage" * 9 + content[154:], b"no archive at all"):
            path = write(tmp_path / f"a.txt{packed}", damaged)
            assert "a.txt" in (message := refused(path)) and "is damaged, or no " in message

    def test_other_json_is_text(self, tmp_path):
        for content in ('{\n "name": "package"\n}\n', "[1, 2]", '"text"', "[]", "// a comment\n{}"):
            assert isinstance(inspected(write(tmp_path / "a.json", content)), TextFile)

    def test_documents_option_takes_records_lines_or_files(self, tmp_path):
        path = write(tmp_path / "a.jsonl", '{"text": "one"}\n\n{"text": ""}\n{"text": " \\n"}\n{"text": "two"}\r\n')
        content = inspected(path)
        assert (content.number, content.empty) == (2, 2) and texts_of(path) == ["one", "two"]
        assert texts_of(path, documents="line")[-1] == '{"text": "two"}' and len(texts_of(path, documents="line")) == 4
        assert isinstance(inspected(path, documents="file"), TextFile)
        assert "holds no records: expected one of .jsonl" in refused(write(tmp_path / "a.txt", "x"), documents="record")
        assert "parquet holds records" in refused(write(tmp_path / "a.parquet", as_parquet(["x"])), documents="line")

    @pytest.mark.parametrize("form", [".jsonl", ".json", ".csv", ".parquet"])
    def test_field_is_text_or_the_only_one_or_has_to_be_named(self, tmp_path, form):
        def path(**columns: list):
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            content = io.BytesIO()
            parquet.write_table(pyarrow.table(columns), content)
            table = [",".join(columns), *(",".join(map(str, row.values())) for row in rows)]
            forms = {".jsonl": "\n".join(map(json.dumps, rows)), ".json": json.dumps(rows), ".csv": "\n".join(table)}
            return write(tmp_path / f"a{form}", forms.get(form) or content.getvalue())

        assert texts_of(path(title=["a", "b"], text=["one", "two"])) == ["one", "two"]
        assert texts_of(path(review=["one", "two"])) == ["one", "two"]
        two = path(title=["a", "b"], review=["one", "two"])
        assert "several fields that are texts (fields: title, review); data.field=title" in refused(two)
        assert texts_of(two, field="review") == ["one", "two"]
        assert "no field 'reviews' (did you mean 'review'?)" in refused(two, field="reviews")
        if form == ".jsonl":  # a field that is null in the first record may be a text
            several = refused(path(title=[None, None, "a"], review=["one", "two", "three"]))
            assert "several fields that are texts (fields: title, review)" in several
            assert texts_of(path(stars=[None, None, 3], review=["one", "two", "three"])) == ["one", "two", "three"]
        if form != ".csv":  # whose fields are all texts
            assert texts_of(path(stars=[1, 2], review=["one", "two"])) == ["one", "two"]
            assert "no field that is a text (fields: stars)" in refused(path(stars=[1, 2]))

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.jsonl", '{"text": "a"}\n{"text": "b"\n', "a.jsonl, line 2: not JSON (Expecting ',' delimiter, at char"),
            ("a.jsonl", '{"text": "a"}\n\n[1]\n', "a.jsonl, line 3: a list, not an object with fields"),
            ("a.jsonl", '{"text": "a"}\n{"txt": "b"}\n', "line 2: no field 'text' (did you mean 'txt'?)"),
            ("a.jsonl", '{"text": "a"}\n{"text": null}\n', "line 2: field 'text' is null"),
            ("a.jsonl", '{"text": "a"}\n{"text": [1]}\n', "line 2: field 'text' is a list, not a text"),
            ("a.jsonl", '{"text": "a"}\n{"text": "\\ud800"}\n', "line 2: field 'text' has half a surrogate pair at"),
            ("a.jsonl", '{"text": "a"}\n' + "[" * 100_000, "line 2: not JSON (maximum recursion depth"),
            ("a.csv", "id,text\n1,a\n2\n", "a.csv, line 3: 1 field, but the header has 2"),
            ("a.csv", 'text\na\n"b"c\n', "a.csv, line 3: not CSV (',' expected after '\"')"),
            ("a.csv", 'text\na\n"b\n', "a.csv, line 3: not CSV (unexpected end of data)"),
            ("a.json", '[{"text": "a"}, {"text": 3}]', "a.json, record 2: field 'text' is a number, not a text"),
        ],
    )
    def test_malformed_record_is_named_or_left_out_and_counted(self, tmp_path, name, content, message):
        path = write(tmp_path / name, content)
        line = refused(path)
        assert message in line and "data.on_error=skip" in line and "\n" not in line
        content = inspected(path, on_error="skip")
        assert (content.number, content.malformed) == (1, 1) and message in content.problem
        assert texts_of(path, on_error="skip") == ["a"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('[{"text": "a"}, {"text": "b"]', "record 2: not JSON (Expecting ',' delimiter"),
            ('[{"text": "a"} {"text": "b"}]', "record 2: not JSON (expected , and not {)"),
            ('[{"text": "a"}', "record 2: the list has no end"),
            ('[{"text": "a"}] []', "record 2: more text after the end of the list"),
        ],
    )
    def test_list_that_cannot_be_read_to_its_end_is_damaged(self, tmp_path, content, message):
        path = write(tmp_path / "a.json", content)
        for on_error in ("fail", "skip"):
            assert message in refused(path, on_error=on_error)

    @pytest.mark.parametrize(("name", "rest"), [("a.jsonl", '{"text": "ok"}\n'), ("a.csv", "ok\n")])
    def test_overlong_line_is_malformed_and_not_kept_in_memory(self, tmp_path, monkeypatch, name, rest):
        monkeypatch.setattr(file_records, "LONGEST", 100)
        head = '{"text": "first"}\n' if name == "a.jsonl" else "text\nfirst\n"
        path = write(tmp_path / name, head + "x" * 200 + "\n" + rest)
        assert "the line is longer than 100 characters" in refused(path)
        if name == "a.jsonl":
            assert texts_of(path, on_error="skip") == ["first", "ok"]

    def test_file_without_documents_is_refused(self, tmp_path):
        for name, content in (("a.jsonl", '{"text": ""}\n'), ("a.csv", "text\n"), ("a.parquet", as_parquet([]))):
            assert "has no document" in refused(write(tmp_path / name, content))
        assert "is empty" in refused(write(tmp_path / "b.parquet", b""))
        assert "b.parquet is damaged, or no parquet file" in refused(write(tmp_path / "b.parquet", b"x" * 100))
        assert "compressed within" in refused(write(tmp_path / "b.parquet.gz", b"x"))

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.integers(1, 30))
    def test_any_texts_in_a_list_cut_anywhere(self, texts, chunk):
        content = json.dumps([{"text": text} for text in texts], ensure_ascii=False)
        chunks = [content[first : first + chunk] for first in range(0, len(content), chunk)]
        records = file_records.READERS["json list"](chunks)
        assert [record["text"] for _, record in records] == texts

    @given(st.text("ab\n"), st.data())
    def test_line_end_is_that_of_a_file(self, text, data):
        index = data.draw(st.integers(0, len(text)))
        end = text.find("\n", index - 1) + 1 if index else 0
        expected = end if 0 < end < len(text) or not index else index
        assert Passage(text).line_end(index) == expected


@pytest.mark.parametrize(("name", "package"), [("a.parquet", "pyarrow"), ("a.txt.zst", "zstandard")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    path = write(tmp_path / name, as_parquet(["x"]) if package == "pyarrow" else PACK[".zst"](b"x"))
    with pytest.raises(UserError, match=rf"{name} needs the package {package} \(pip install 'lmlab\[corpora\]'\)"):
        Text(str(path), documents=None).checksum(tmp_path)


class TestChange:
    @pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz"])
    @pytest.mark.parametrize("when", ["before", "during"])
    def test_file_that_changes_after_its_inspection_is_refused(self, tmp_path, name, when):
        plain = FORMS[".jsonl"](TEXTS) if name == "a.jsonl" else "".join(TEXTS).encode()
        path = write(tmp_path / name, gzip.compress(plain) if name.endswith(".gz") else plain)
        corpus = Text(str(path), documents=None)
        corpus.find(None, tmp_path)

        def change() -> None:
            with path.open("ab") as file:
                file.write(gzip.compress(b"more") if name.endswith(".gz") else b'{"text": "more"}\n')

        with pytest.raises(UserError, match=rf"data\.paths: .*{name} changed while the text was read"):
            if when == "before":
                change()
            for number, chunks in enumerate(corpus.chunks("train")):
                for _ in chunks:
                    if number == 0 and when == "during":
                        change()

    def test_removed_file_is_named(self, tmp_path):
        path = write(tmp_path / "a.txt", "".join(TEXTS))
        corpus = Text(str(path))
        corpus.find(None, tmp_path)
        path.unlink()
        with pytest.raises(UserError, match=r"a\.txt was removed while the text was read"):
            list(corpus.documents("train"))

    def test_preparation_of_a_text_that_changes_leaves_no_tokens(self, tmp_path, monkeypatch):
        from lmlab.data.preparation import prepare
        from lmlab.data.tokenizers import Byte

        path = write(tmp_path / "a.jsonl", FORMS[".jsonl"](TEXTS))
        encode_all = Byte.encode_all

        def encoded(self, documents):
            write(path, FORMS[".jsonl"](TEXTS[::-1]))
            return encode_all(self, documents)

        monkeypatch.setattr(Byte, "encode_all", encoded)
        with pytest.raises(UserError, match="changed while the text was read"):
            prepare(Text(str(path), documents=None), Byte(), tmp_path / "cache", progress=False)
        assert not list((tmp_path / "cache").glob("*/*.bin"))


class TestFolder:
    def test_a_folder_of_many_kinds_says_what_it_reads_and_passes_over(self, tmp_path):
        write(tmp_path / "a.jsonl", FORMS[".jsonl"](TEXTS))
        write(tmp_path / "b.md", "# A title\n" * 30)
        write(tmp_path / "c.csv", "name,age\nx,1\n")
        write(tmp_path / "d.json", '{"name": "package"}\n')
        corpus = WholeText(str(tmp_path))
        corpus.find(None, tmp_path)
        passed_over = "passed over: 1 without a field 'text' (c.csv)"
        assert corpus.notes == (f"data.paths: 3 files read, 50 records (field 'text'); {passed_over}",)
        assert len(list(corpus.documents("text"))) == 52

    def test_damaged_file_of_a_folder_fails_or_is_passed_over(self, tmp_path):
        write(tmp_path / "a.jsonl", FORMS[".jsonl"](TEXTS))
        write(tmp_path / "b.jsonl.gz", gzip.compress(FORMS[".jsonl"](TEXTS))[:-9])
        with pytest.raises(UserError, match=r"b\.jsonl\.gz is damaged"):
            WholeText(str(tmp_path)).find(None, tmp_path)
        corpus = WholeText(str(tmp_path), on_error="skip")
        corpus.find(None, tmp_path)
        assert "passed over: 1 damaged (b.jsonl.gz)" in corpus.notes[0]

    def test_malformed_records_are_counted(self, tmp_path):
        write(tmp_path / "a.jsonl", '{"text": "a"}\nno\n')
        write(tmp_path / "b.jsonl", '{"text": "b"}\nno\n{}\n')
        corpus = WholeText(str(tmp_path), on_error="skip")
        corpus.find(None, tmp_path)
        assert corpus.notes[1].startswith("data.paths: 3 malformed records left out; the first: ")

    def test_wildcards_match_files_and_folders(self, tmp_path):
        for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "sub/d.md", "sub/binary.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            write(tmp_path / name, name if "binary" not in name else "\0")

        def read(pattern: str) -> list[str]:
            corpus = WholeText(f"{tmp_path}/{pattern}")
            corpus.find(None, tmp_path)
            return list(corpus.documents("text"))

        assert read("*.txt") == ["a.txt"]
        assert read("**/*.txt") == ["a.txt", "sub/b.txt", "sub/deep/c.txt"]
        assert read("s*") == ["sub/b.txt", "sub/d.md", "sub/deep/c.txt"]
        assert read("**") == ["a.txt", "sub/b.txt", "sub/d.md", "sub/deep/c.txt"]
        write(tmp_path / "[a].txt", "a file of that name")
        assert read("[a].txt") == ["a file of that name"]
        with pytest.raises(UserError, match=r"no file matches .*\*\.pdf \(in quotes, as 'data\.paths=.*\*\.pdf'"):
            read("*.pdf")

    def test_wildcards_pass_over_own_outputs(self, tmp_path):
        write(tmp_path / "a.txt", "text")
        (tmp_path / "outputs" / "cache").mkdir(parents=True)
        write(tmp_path / "outputs" / "cache" / "files.json", "{}")
        write(tmp_path / "outputs" / "log.txt", "log")
        corpus = WholeText(f"{tmp_path}/**/*.txt")
        corpus.find(None, tmp_path)
        assert list(corpus.documents("text")) == ["text"]

    def test_field_without_records_is_refused(self, tmp_path):
        write(tmp_path / "a.txt", "text")
        with pytest.raises(UserError, match=r"data\.field=body: changes nothing, no file has records"):
            WholeText(str(tmp_path / "a.txt"), field="body").find(None, tmp_path)
        with pytest.raises(UserError, match=r"data\.field=body: changes nothing with data\.documents=line"):
            WholeText(str(tmp_path), documents="line", field="body")


class TestSplitOfRecords:
    def test_records_stay_in_their_split_whatever_they_are_stored_in(self, tmp_path):
        def splits(*paths: Path) -> dict[str, str]:
            corpus = Text([*map(str, paths)], documents=None)
            corpus.find(None, tmp_path)
            return {text: split for split in corpus.splits for text in corpus.documents(split)}

        texts = [f"document {number}" for number in range(400)]
        first = splits(write(tmp_path / "a.jsonl", FORMS[".jsonl"](texts[:200])))
        assert set(first.values()) == {"train", "validation", "test"}
        more = splits(tmp_path / "a.jsonl", write(tmp_path / "b.csv", FORMS[".csv"](texts[200:])))
        assert first.items() <= more.items() and len(more) == 400
        lines = write(tmp_path / "c.txt", "\n".join(texts))
        corpus = Text(str(lines), documents="line")
        corpus.find(None, tmp_path)
        assert {text: split for split in corpus.splits for text in corpus.documents(split)} == more

    def test_few_records_are_cut(self, tmp_path):
        corpus = Text(
            str(write(tmp_path / "a.jsonl", FORMS[".jsonl"](["line\n" * 100, "end\n" * 100]))), documents=None
        )
        corpus.find(None, tmp_path)
        parts = {split: list(corpus.documents(split)) for split in corpus.splits}
        assert ["".join(part) for part in zip(*parts.values(), strict=True)] == ["line\n" * 100, "end\n" * 100]
        assert all(text.endswith("\n") for texts in parts.values() for text in texts)
        assert "fewer than 20 documents" in corpus.notes[-1]

    def test_checksum_covers_documents_and_not_how_they_are_stored(self, tmp_path):
        def checksum(name: str, content: bytes) -> str:
            return Text(str(write(tmp_path / name, content)), documents=None).checksum(tmp_path)

        same = {checksum(f"a{form}", pack(TEXTS)) for form, pack in FORMS.items()}
        assert len(same) == 1
        assert checksum("b.jsonl", FORMS[".jsonl"](TEXTS[::-1])) not in same


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.jsonl.gz", "a.txt.zst"])
def test_a_file_is_never_in_memory_as_a_whole(tmp_path, name):
    """20 MB in a line, in a list, in rows, or compressed 1000 times."""
    texts = ["a document of the corpus, " * 200] * 4000
    packed = path.suffix if (path := tmp_path / name).suffix in PACK else ""
    form = name.removeprefix("a").removesuffix(packed)
    plain = "".join(texts).encode() if form == ".txt" else FORMS[form](texts)
    write(path, PACK[packed](plain) if packed else plain)
    del plain
    corpus = Text(str(path), documents=None)
    tracemalloc.start()
    try:
        corpus.checksum(tmp_path)
        for chunks in corpus.chunks("train"):
            for _ in chunks:
                pass
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_words_of_a_corpus_in_the_form_of_the_penn_treebank(tmp_path):
    """One sentence on a line between spaces, with <unk> and N: tokens are words and an <eos> for each line."""
    from lmlab.data.preparation import prepare
    from lmlab.data.tokenizers import Word

    sentences = [f" the <unk> of {number % 7} rose N to N " for number in range(300)]
    splits = {"train": sentences, "validation": sentences[:20], "test": sentences[:30]}
    for split, lines in splits.items():
        write(tmp_path / f"ptb.{split}.txt", "".join(f"{line}\n" for line in lines))
    corpus = Text({split: str(tmp_path / f"ptb.{split}.txt") for split in splits}, documents=None)
    prepared = prepare(corpus, Word(), tmp_path / "cache", progress=False)
    assert [prepared.count(split) for split in splits] == [300 * 9, 20 * 9, 30 * 9]
    assert prepared.tokenizer.size == len({"the", "<unk>", "of", "rose", "N", "to", "<eos>"}) + 7
