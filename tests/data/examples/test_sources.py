"""Examples from files: the fields of each format, and the file and line of what is wrong."""

import io
import json
from collections import Counter
from itertools import chain

import pytest

from lmlab.data.corpora.corpus import SPLITS
from lmlab.data.examples import Aligned, LastWord, MultipleChoice, QuestionAnswering, Records
from lmlab.errors import UserError

TEMPLATE = {"input": "{q}", "answer": "{a}"}


def records(tmp_path, name: str, content: str | bytes, **options):
    """The records of the training split of a file."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    kind = options.pop("kind", Records)
    arguments = {"template": TEMPLATE, "length": 8, **options}
    if kind is not MultipleChoice:
        arguments.setdefault("metrics", ["exact_match"])
    data = kind(name="mine", licence="", paths={"train": str(path), "validation": str(path)}, **arguments)
    data.find(None, tmp_path / "cache")
    return data, list(data.records("train"))


LINES = '{"q": "1 \u2028 1", "a": 2}\n\n{"q": "x", "a": ["y", "z"]}\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_lines_in_any_encoding(tmp_path, encoding):
    _, found = records(tmp_path, "a.jsonl", LINES.encode(encoding))
    assert found == [{"q": "1 \u2028 1", "a": "2"}, {"q": "x", "a": ["y", "z"]}]


def test_a_list_and_tables_have_the_same_records(tmp_path):
    expected = [{"q": 'one,\n"two"', "a": "3"}, {"q": "", "a": "y" * 200_000}]
    table = 'q,a\n"one,\n""two""",3\n,' + "y" * 200_000 + "\n"
    assert records(tmp_path, "a.json", json.dumps(expected))[1] == expected
    assert records(tmp_path, "a.csv", "\ufeff" + table)[1] == expected
    assert records(tmp_path, "a.tsv", table.replace(",3", "\t3").replace("q,a", "q\ta").replace("\n,", "\n\t"))[1] == (
        expected
    )


ROWS = [{"q": "one", "a": ["x", "y"], "n": 1}, {"q": "two", "a": ["z"], "n": 2}]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz", "a.json.zst", "a.lines.json", "a.jsonl.xz"])
def test_parquet_and_compressed_files_have_the_same_records(tmp_path, name):
    import gzip
    import lzma

    import pyarrow
    import zstandard
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), content)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    contents = {
        "a.parquet": content.getvalue(),
        "a.jsonl.gz": gzip.compress(lines),
        "a.jsonl.xz": lzma.compress(lines),
        "a.json.zst": zstandard.compress(json.dumps(ROWS).encode()),
        "a.lines.json": lines,
    }
    assert records(tmp_path, name, contents[name])[1] == ROWS


def test_a_damaged_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.parquet is damaged, or no parquet file"):
        records(tmp_path, "a.parquet", b"x" * 100)
    with pytest.raises(UserError, match=r"data\.paths: .*a\.jsonl\.gz is damaged, or no gzip file"):
        records(tmp_path, "a.jsonl.gz", b"x" * 100)


MALFORMED = [
    ("a.jsonl", '{"q": "x", "a": "y"}\n{"q": \n', r"a\.jsonl, line 2: not JSON \(Expecting value, at character \d+\)"),
    ("a.jsonl", '{"q": "x", "a": "y"}\n[1]\n', "line 2: a list, not an object with fields"),
    ("a.jsonl", '{"q": "x", "b": "y"}\n', r"line 1: no field 'a', which data\.template names"),
    ("a.jsonl", '{"q": "x", "a": null}\n', "line 1: field 'a' is null"),
    ("a.jsonl", '{"q": "x", "a": {"b": 1}}\n', "line 1: field 'a' is a section, not a text"),
    ("a.jsonl", '{"q": "x", "a": []}\n', "line 1: field 'a' is an empty list"),
    ("a.jsonl", '{"q": "x", "a": ["y", null]}\n', "line 1: field 'a' is a list with null"),
    ("a.jsonl", '{"q": "x", "a": " "}\n', "line 1: its answer is empty"),
    ("a.jsonl", '{"q": "\\ud800", "a": "y"}\n', "line 1: field 'q' is no valid text"),
    ("a.csv", "q,a\nx,y\nx\n", "line 3: 1 field, but the header has 2"),
    ("a.json", '[{"q": "x", "a": "y"}, 3]', "record 2: a number, not an object with fields"),
]


@pytest.mark.parametrize(("name", "content", "message"), MALFORMED)
def test_a_malformed_record_is_named_or_skipped_and_counted(tmp_path, name, content, message):
    with pytest.raises(UserError, match=f"{message}.*on_error=skip"):
        records(tmp_path, name, content)
    data, found = records(tmp_path, name, content, on_error="skip")
    number, problem = data.skipped["train"]
    assert number == 1 and len(found) in (0, 1)
    with pytest.raises(UserError, match=message):
        raise UserError(problem)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"q": "x",\n "a": ]', r"record 1: not JSON \(.*\); the rest cannot be read$"),
        (
            "a.csv",
            'q,a\nx,y\n"x,y\nx,y\nx,y\n',
            "line 3: a quote is not closed and takes in 2 lines",
        ),
        ("a.json", "{}", "holds no records: expected a list of objects, or objects on lines$"),
        ("a.txt", "x", "holds no records: expected one of .jsonl"),
        ("a.jsonl", b"\0\1", "is binary, or UTF-16 without a byte order mark"),
        ("a.jsonl", b'{"q": "\xe4"}', "is not UTF-8: byte 0xe4 at offset 7"),
        ("a.jsonl", b"", "is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_any_case(tmp_path, name, content, message):
    for on_error in ("fail", "skip"):
        with pytest.raises(UserError, match=message):
            records(tmp_path, name, content, on_error=on_error)


def test_right_answers_may_be_in_several_fields(tmp_path):
    content = '{"q": "x", "s": "one"}\n{"q": "y", "s": "two", "t": "zwei", "u": ""}\n{"q": "z"}\n'
    options = {"references": ["s", "t", "u"], "template": {"input": "{q}", "answer": "{references}"}}
    data, found = records(tmp_path, "a.jsonl", content, on_error="skip", **options)
    assert [record["references"] for record in found] == [["one"], ["two", "zwei"]]
    assert data.skipped["train"][1].endswith("line 3: none of the fields s, t, u (data.references)")


def squad(*questions) -> str:
    return json.dumps({"data": [{"title": "A_b", "paragraphs": [{"context": "C.", "qas": list(questions)}]}]})


def test_questions_of_the_hub_in_records(tmp_path):
    rows = [
        {
            "id": "1",
            "title": "A_b",
            "context": "C.",
            "question": "who? ",
            "answers": {"text": ["a"], "answer_start": [0]},
        },
        {"id": "2", "title": "A_b", "context": "C.", "question": "none?", "answers": {"text": [], "answer_start": []}},
        {"context": "C.", "question": "what?", "answers": ["b", "c"]},
        {"context": "C d.", "question": "where?", "answers": {"text": ["d", "e"], "answer_start": [2]}},
        {"context": "C d.", "question": "where?", "answers": {"text": ["d"], "answer_start": []}},
    ]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    _, found = records(tmp_path, "a.jsonl", content, kind=QuestionAnswering, template=FIELDS)
    assert [record["answers"] for record in found] == [["a"], [""], ["b", "c"], ["d", "e"], ["d"]]
    assert found[0]["title"] == "A b" and found[0]["question"] == "who?"


FIELDS = {"input": "{context} {question}", "answer": "{answers}"}


def test_questions_of_squad_with_and_without_answers(tmp_path):
    content = squad(
        {"question": " who? ", "id": "1", "answers": [{"text": "a"}, {"text": "b"}]},
        {"question": "none?", "id": "2", "answers": [], "is_impossible": True},
    )
    _, found = records(tmp_path, "a.json", content, kind=QuestionAnswering, template=FIELDS)
    assert [record["answers"] for record in found] == [["a", "b"], [""]]
    others = {"context": "C.", "sentence": "C."}
    assert found[0] == {"title": "A b", "question": "who?", "id": "1", "answers": ["a", "b"], **others}


@pytest.mark.parametrize(
    ("answer", "place", "sentence"),
    [
        ("two", 13, "Two and two are 4.5 or so!"),
        ("4.5", None, "Two and two are 4.5 or so!"),
        ("One.", 0, "One."),
        ("so! No? End", None, "Two and two are 4.5 or so! No? End"),
        ("End", None, "End"),
        ("absent", None, None),
        ("two", 0, None),  # a wrong place
    ],
)
def test_the_sentence_of_squad_holds_the_first_answer(tmp_path, answer, place, sentence):
    context = "One. Two and two are 4.5 or so! No? End"
    of_answer = {"text": answer} | ({} if place is None else {"answer_start": place})
    question = {"question": "?", "id": "1", "answers": [of_answer, {"text": "No"}]}
    content = json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]})
    _, found = records(tmp_path, "a.json", content, kind=QuestionAnswering, template=FIELDS)
    assert found[0]["sentence"] == (context if sentence is None else sentence)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"a\.json: expected the format of SQuAD"),
        ('{"data": ', r"a\.json: not JSON \(Expecting value, at character 10\)"),
        ('{"data": [{}]}', r"data\[0\]: expected an object with a list paragraphs"),
        (squad({"question": "?", "answers": []}), r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: no answers"),
        (squad({"answers": []}), "no question"),
        (squad({"question": "?", "answers": [{"answer": "x"}]}), "an answer without a text"),
    ],
)
def test_what_is_not_squad_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        records(tmp_path, "a.json", content, kind=QuestionAnswering, template=FIELDS)


class TestAligned:
    def made(self, tmp_path, english: str, german: str, **options):
        for language, text in (("en", english), ("de", german)):
            (tmp_path / f"a.{language}").write_text(text)
        place = str(tmp_path / "a.{language}")
        template = {"input": "{source_language} to {target_language}: {source}", "answer": "{target}"}
        paths = {"train": place, "validation": place}
        data = Aligned("en", "de", "mine", "", template, ["bleu"], 8, paths=paths, **options)
        data.find(None, tmp_path / "cache")
        return data

    def test_lines_belong_together(self, tmp_path):
        data = self.made(tmp_path, "a \u2028 b\nc", "d\ne\n")
        pairs = [(record["source"], record["target"]) for record in data.records("train")]
        assert pairs == [("a \u2028 b", "d"), ("c", "e")]
        assert next(data.examples("train")).prompt == "English to German: a \u2028 b\n"

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.tsv", "de\ten\nd, e\ta\nf\tc\n"),
            ("a.jsonl", '{"translation": {"de": "d, e", "en": "a"}}\n{"translation": {"de": "f", "en": "c"}}\n'),
        ],
    )
    def test_records_may_have_both_languages(self, tmp_path, name, content):
        (tmp_path / name).write_text(content)
        template = {"input": "{source}", "answer": "{target}"}
        data = Aligned("en", "de", "mine", "", template, ["bleu"], 8, paths={"train": str(tmp_path / name)})
        data.find(None, tmp_path / "cache")
        assert [(each.prompt, each.answer) for each in data.examples("train")] == [("a\n", "d, e"), ("c\n", "f")]
        data = Aligned("en", "fr", "mine", "", template, ["bleu"], 8, paths={"train": str(tmp_path / name)})
        data.find(None, tmp_path / "cache")
        with pytest.raises(UserError, match=rf"{name}, (line|row) \d: no field 'fr'.*data\.on_error=skip"):
            list(data.records("train"))

    def test_wildcards_of_both_languages_match_in_order(self, tmp_path):
        for name in ("a.en", "a.de", "b.en", "b.de"):
            (tmp_path / name).write_text(f"{name}\n")
        template = {"input": "{source}", "answer": "{target}"}
        data = Aligned("en", "de", "mine", "", template, ["bleu"], 8, paths={"train": str(tmp_path / "*.{language}")})
        data.find(None, tmp_path / "cache")
        assert [(each["source"], each["target"]) for each in data.records("train")] == [
            ("a.en", "a.de"),
            ("b.en", "b.de"),
        ]
        (tmp_path / "b.de").unlink()
        with pytest.raises(UserError, match=r"there are 2 of .*\*\.en and 1 of .*\*\.de; expected as many"):
            data.find(None, tmp_path / "cache")

    def test_unequal_numbers_of_lines_are_refused(self, tmp_path):
        for on_error in ("fail", "skip"):
            data = self.made(tmp_path, "a\nb\n", "c\n", on_error=on_error)
            with pytest.raises(UserError, match=r"a\.en has 2 lines and .*a\.de has 1 lines; expected as many"):
                list(data.records("train"))

    def test_an_empty_line_is_malformed(self, tmp_path):
        with pytest.raises(UserError, match=r"a\.en, line 2: the line of .*a\.de is empty"):
            list(self.made(tmp_path, "a\nb\nc\n", "d\n\nf\n").records("train"))
        data = self.made(tmp_path, "a\nb\nc\n", "d\n\nf\n", on_error="skip")
        assert [record["target"] for record in data.records("train")] == ["d", "f"]
        assert data.skipped["train"][0] == 1

    def test_what_names_no_pair_of_languages_is_refused(self, tmp_path):
        with pytest.raises(UserError, match=r"data\.target=en: is data\.source as well"):
            Aligned("en", "en", "mine", "", TEMPLATE, ["bleu"], 8, paths={"train": "a.{language}"})
        with pytest.raises(
            UserError, match=r"a\.en has no \{language\}, .* or a file of records with the fields en and de"
        ):
            Aligned("en", "de", "mine", "", TEMPLATE, ["bleu"], 8, paths={"train": "a.en"})
        (tmp_path / "multi").mkdir()
        for language in ("en", "fr"):
            (tmp_path / "multi" / f"train.{language}").write_text("a\n")
        data = Aligned("en", "de", "mine", "", TEMPLATE, ["bleu"], 8, in_corpora={"train": "multi/train.{language}"})
        with pytest.raises(UserError, match=r"has no multi/train\.de \(languages there: en, fr\)"):
            data.find(tmp_path, tmp_path / "cache")


CHOICE = {"input": "{q}", "answer": "{choice}"}


class TestMultipleChoice:
    @pytest.mark.parametrize(
        ("choices", "right"), [(["no", "true"], True), (["No", "True"], True), (["a", "false"], False)]
    )
    def test_the_right_choice_may_be_a_truth_value(self, tmp_path, choices, right):
        content = json.dumps({"q": "?", "choices": choices, "answer": right})
        data, found = records(tmp_path, "a.jsonl", content, kind=MultipleChoice, template=CHOICE)
        assert data.template(found[0]).references == (choices[1], choices[0])

    def test_an_answer_without_the_choice_is_refused(self, tmp_path):
        record = {"q": "?", "choices": ["x y", "z"], "answer": 0, "a": "z"}
        for template, choices in ((TEMPLATE, ["x", "z"]), (CHOICE, ["x y", "x  y"])):
            with pytest.raises(UserError, match=r"line 1: data\.template\.answer writes several choices alike"):
                content = json.dumps(record | {"choices": choices})
                records(tmp_path, "a.jsonl", content, kind=MultipleChoice, template=template)

    @pytest.mark.parametrize(
        ("record", "options"),
        [
            ({"choices": ["x", "y", "z"], "answer": 1}, {}),
            ({"choices": ["x", "y", "z"], "answer": "B"}, {}),
            ({"choices": ["x", "y", "z"], "answer": "y"}, {}),
            ({"choices": ["x", "y", "z"], "answer": 2}, {"first": 1}),
            ({"endings": ["x", "y", "z"], "label": "1"}, {"choices": "endings", "right": "label"}),
            ({"choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answer": "2"}, {}),
            ({"answer": "y"}, {"choices": ["x", "y", "z"]}),
            ({"answer": 1}, {"choices": ["x", "y", "z"]}),
            ({"answer": 1.0}, {"choices": ["x", "y", "z"]}),
        ],
    )
    def test_the_right_choice_is_the_first_reference(self, tmp_path, record, options):
        content = json.dumps({"q": "?", **record})
        data, found = records(tmp_path, "a.jsonl", content, kind=MultipleChoice, template=CHOICE, **options)
        assert data.template(found[0]).references == ("y", "x", "z")
        assert found[0]["letter"] == ["B", "A", "C"] and found[0]["listed"] == "A. x\nB. y\nC. z"

    @pytest.mark.parametrize(
        ("record", "message"),
        [
            ({"choices": ["x"], "answer": 0}, "no list of 2 to 26 choices"),
            ({"choices": "xy", "answer": 0}, "no list of 2 to 26 choices"),
            ({"choices": ["x", "x"], "answer": 0}, "has a choice twice"),
            ({"choices": ["x", "y"], "answer": 2}, "field answer is 2, none of the choices"),
            ({"choices": ["x", "y"], "answer": -1}, "field answer is -1, none of the choices"),
            ({"choices": ["x", "y"], "answer": "C"}, "field answer is 'C', none of the choices"),
            ({"choices": ["x", "y"], "answer": True}, "field answer is True, none of the choices"),
        ],
    )
    def test_records_without_one_right_choice_are_malformed(self, tmp_path, record, message):
        with pytest.raises(UserError, match=f"line 1: .*{message}"):
            records(tmp_path, "a.jsonl", json.dumps({"q": "?", **record}), kind=MultipleChoice, template=CHOICE)


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", "one two  three\n\nfour five\n"), ("a.jsonl", '{"text": "one two  three"}\n')]
)
def test_the_last_word_of_a_passage(tmp_path, name, content):
    template = {"input": "{context}", "answer": "{word}", "continues": True}
    data, found = records(tmp_path, name, content, kind=LastWord, template=template, metrics=["last_word"])
    example = data.template(found[0])
    assert (example.prompt, example.answer) == ("one two", " three")


class TestPaths:
    def made(self, paths=None, in_corpora=None, metrics=("exact_match",)):
        return Records("mine", "L", TEMPLATE, list(metrics), 8, in_corpora=in_corpora, paths=paths)

    def test_a_folder_with_files_named_like_splits(self, tmp_path):
        (tmp_path / "text").mkdir()
        for name in ("train.jsonl", "dev.jsonl"):
            (tmp_path / "text" / name).write_text('{"q": "x", "a": "y"}\n')
        data = self.made(str(tmp_path / "text"))
        data.find(None, tmp_path / "cache")
        assert data.splits == ("train", "validation") and data.licence == "the user's own"
        assert len(list(data.records("validation"))) == 1

    def test_a_folder_of_a_split_is_read_without_what_holds_no_records(self, tmp_path):
        (tmp_path / "parts").mkdir()
        for name in ("b.jsonl", "a.jsonl"):
            (tmp_path / "parts" / name).write_text(json.dumps({"q": name, "a": "y"}) + "\n")
        (tmp_path / "parts" / "README.md").write_text("About these files.\n")
        for paths in (str(tmp_path / "parts"), [f"{tmp_path}/parts/*.jsonl"]):
            data = self.made({"train": paths})
            data.find(None, tmp_path / "cache")
            assert [record["q"] for record in data.records("train")] == ["a.jsonl", "b.jsonl"]
            passed_over = ("data.paths: passed over: 1 no records (README.md)",)
            assert data.notes == (passed_over if isinstance(paths, str) else ())

    def whole(self, tmp_path, number: int, **options):
        rows = [{"q": str(row // 2), "a": str(row)} for row in range(number)]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "no\n")
        data = Records("mine", "L", TEMPLATE, ["f1"], 8, paths=str(tmp_path / "a.jsonl"), on_error="skip")
        return rows, data

    def test_a_file_without_splits_is_divided_by_the_hash_of_the_input(self, tmp_path):
        def splits(number: int):
            rows, data = self.whole(tmp_path, number)
            data.find(None, tmp_path / "cache")
            assert data.splits == SPLITS
            by_split = {split: list(data.records(split)) for split in SPLITS}
            assert sorted(chain(*by_split.values()), key=lambda row: int(row["a"])) == rows
            assert {split: counts[0] for split, counts in data.skipped.items()} == {"train": 1}
            return {row["a"]: (split, row["q"]) for split, some in by_split.items() for row in some}

        few = splits(1000)
        assert len(set(few.values())) == 500, "equal inputs are in one split"
        sizes = Counter(split for split, _ in few.values())
        assert 20 < sizes["validation"] < 90 and 20 < sizes["test"] < 90
        assert few.items() <= splits(1200).items(), "further records move none"
        assert set(dict(splits(12).values())) == set(SPLITS), "a split that has none by its share has the nearest"

    def test_a_file_without_splits_is_scored_as_a_whole(self, tmp_path):
        rows, data = self.whole(tmp_path, 20)
        divided = data.fingerprint()
        data.use_as_one()
        data.find(None, tmp_path / "cache")
        assert data.splits == ("all",) and list(data.records("all")) == rows
        assert data.fingerprint() != divided

    def test_the_checksum_is_that_of_the_content(self, tmp_path):
        for name in ("a.jsonl", "b.jsonl"):
            (tmp_path / name).write_text('{"q": "x", "a": "y"}\n')
        sums = [self.made({"train": str(tmp_path / name)}).checksum(tmp_path) for name in ("a.jsonl", "b.jsonl")]
        (tmp_path / "b.jsonl").write_text('{"q": "x", "a": "z"}\n')
        assert sums[0] == sums[1] != self.made({"train": str(tmp_path / "b.jsonl")}).checksum(tmp_path)
        assert self.made(in_corpora={"train": "a.jsonl"}).checksum(tmp_path) is None

    @pytest.mark.parametrize(
        ("paths", "message"),
        [
            ({"train": "a.jsonl", "dev": "b.jsonl"}, r"data\.paths\.dev: no such split"),
            ({"train": 3}, r"data\.paths\.train=3: expected a file or folder, or a list of them"),
            ({"train": []}, r"data\.paths\.train=\[\]: expected at least one file"),
            (None, r"data\.paths has no value"),
            ({"train": None}, r"data\.paths has no value"),
        ],
    )
    def test_what_names_no_files_is_refused(self, paths, message):
        with pytest.raises(UserError, match=message):
            self.made(paths)

    def test_missing_files_are_named(self, tmp_path):
        (tmp_path / "train.jsonl").write_text("{}\n")
        with pytest.raises(UserError, match=r"there is no .*trian\.jsonl \(did you mean 'train\.jsonl'\?\)"):
            self.made({"train": str(tmp_path / "trian.jsonl")}).find(None, tmp_path)
        data = self.made(in_corpora={"train": "mine/train*.jsonl"})
        with pytest.raises(UserError, match=r"data=mine: needs the files mine/train\*\.jsonl; set LMLAB_CORPORA"):
            data.find(None, tmp_path)
        with pytest.raises(UserError, match=r"has no mine/train\*\.jsonl; set LMLAB_CORPORA"):
            data.find(tmp_path, tmp_path)
        (tmp_path / "mine").mkdir()
        for name in ("train.jsonl", "train-v2.jsonl"):
            (tmp_path / "mine" / name).write_text("{}\n")
        with pytest.raises(UserError, match=r"several files of .* match .* \(train-v2\.jsonl, train\.jsonl\)"):
            data.find(tmp_path, tmp_path)

    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            (["rogue1"], r"data\.metrics=rogue1: no such metric \(did you mean 'rouge1'\?\)"),
            (["f1", "f1"], "f1 is named twice"),
        ],
    )
    def test_unknown_metrics_are_refused(self, metrics, message):
        with pytest.raises(UserError, match=message):
            self.made({"train": "a"}, metrics=metrics)
