import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lmlab.commands import generate
from lmlab.config.overrides import read
from lmlab.data.tokenizers import BPE, Byte, Character, Symbols, Word, encode_prompt, unknown_parts
from lmlab.errors import UserError
from lmlab.models.decoding_options import read_stop
from lmlab.models.heads.head import Head
from lmlab.models.state import LanguageModelState, Output
from lmlab.training import load

TEXT = "the cat sät on a mat\nand saw two birds, über every tree\n" * 4


def test_what_a_vocabulary_lacks_is_counted_and_the_first_of_it_named():
    characters, words, pieces = Character(), Word(), BPE(290)
    for tokenizer in (characters, words, pieces):
        tokenizer.fit([TEXT])
    assert unknown_parts(characters, "the cät çat, ça", "prompt") == (
        "prompt: 2 characters outside the vocabulary, read as '\\n': 'ç'"
    )
    assert unknown_parts(words, "the zorkmid cat", "prompt") == (
        "prompt: 1 word outside the vocabulary, read as '<unk>': 'zorkmid'"
    )
    many = unknown_parts(words, "a b c d e f g", "prompt")
    assert many.startswith("prompt: 6 words outside the vocabulary") and many.endswith("'b', 'c', 'd', 'e', 'f', ...")
    for tokenizer in (characters, words, pieces, Byte()):
        assert unknown_parts(tokenizer, "the cat\n", "prompt") == ""
    assert unknown_parts(pieces, "漢字", "prompt") == ""


def test_a_prompt_that_is_no_text_of_the_tokenizer_s_is_refused_by_the_name_of_its_option():
    for tokenizer, prompt in ((Byte(), "\udcff"), (Symbols(4), "1 2 9")):
        with pytest.raises(UserError, match=r"^callbacks\.samples\.prompt: "):
            encode_prompt(tokenizer, prompt, "callbacks.samples.prompt")


class Script(Head):
    """A model that goes on with a fixed text whatever it reads; ``certain``: the share of probability of each token."""

    max_positions = None

    def __init__(self, tokens, size, certain=1.0):
        super().__init__()
        self.vocabulary = size
        others = (1 - certain) / (size - 1)
        self.log_probs_TV = nn.Parameter(torch.full((len(tokens), size), others).log())
        for place, token in enumerate(tokens):
            self.log_probs_TV.data[place, token] = torch.tensor(certain).log()

    head = property(lambda self: self)

    def forward(self, tokens_BT, state=None):
        # After the prompt, in which every token is the separator or a line end, one after another.
        read_B = torch.zeros(len(tokens_BT), dtype=torch.int64) if state is None else state.blocks[0]
        at_BT = read_B[:, None] + torch.arange(1, tokens_BT.shape[1] + 1)
        return Output(at_BT[..., None], LanguageModelState(at_BT[:, -1], (at_BT[:, -1],)))

    def log_probs(self, at):
        return self.log_probs_TV[at[..., 0].clamp(max=len(self.log_probs_TV)) - 1]


@pytest.fixture
def written(monkeypatch, compose, capsys, tmp_path):
    """Run the command on a scripted model; what it printed to standard output and error."""
    monkeypatch.chdir(tmp_path)

    def write(text, *words, tokenizer=None, certain=1.0):
        tokenizer = tokenizer or Byte()
        tokens = text if isinstance(text, list) else tokenizer.encode(text).tolist()
        model = Script(tokens, tokenizer.size, certain)
        run = SimpleNamespace(id="0123456789", path=Path("lstm-text-0123456789"))
        trained = load.Trained(run, {}, model, tokenizer, 8, "", "final")
        monkeypatch.setattr(load, "load_trained", lambda *_: trained)
        monkeypatch.setattr(generate, "find", lambda *_: run)
        config = compose(*(read(word) for word in words), "threads=1", command="generate")
        generate.main(**config)
        return capsys.readouterr()

    return write


def test_a_text_ends_before_a_stop_string_and_standard_output_holds_nothing_else(written):
    assert written("one two\n\nthree", 'stop=["\\n\\n","END"]').out == "one two\n"
    assert written("one ENtwo END three", "stop=END").out == "one ENtwo \n"
    assert written("né漢字x", "stop=漢字").out == "né\n"
    assert written("one EN", "stop=END", "length=6").out == "one EN\n"
    shown = written("one two", "length=5")
    assert shown.out == "one t\n"
    assert shown.err.startswith("(lstm-text-0123456789: 5 tokens, ") and shown.err.endswith("ended by length)\n")


@pytest.mark.parametrize("samples", [1, 3])
def test_what_ended_a_text_is_recorded(written, samples):
    pieces = BPE(290)
    pieces.fit([TEXT])
    tokens = [*pieces.encode("the cat").tolist(), pieces.separator, *pieces.encode("a mat").tolist()]

    def records(*words):
        shown = written(tokens, "format=jsonl", f"samples={samples}", *words, tokenizer=pieces)
        return [json.loads(line) for line in shown.out.splitlines()]

    drawn = len(tokens)
    for words, text, count, ended_by in (
        ([], "the cat", tokens.index(pieces.separator) + 1, "end_of_document"),
        (["end_of_document=false", f"length={drawn}"], "the cat\na mat", drawn, "length"),
        (["stop= c"], "the", None, "stop"),
        (["length=1"], pieces.decode(tokens[:1]), 1, "length"),
    ):
        found = records(*words, "seed=7")
        assert [(row["text"], row["ended_by"]) for row in found] == [(text, ended_by)] * samples
        assert {row["run"] for row in found} == {"0123456789"}
        assert all(row["tokens"] == count for row in found if count is not None)
        assert [(row["sample"], row["seed"]) for row in found] == [(n, 6 + n) for n in range(1, samples + 1)]
        assert all(row["mean_log_probability"] == 0 for row in found)


def test_the_mean_log_probability_is_of_the_tokens_that_were_drawn(written):
    (line,) = written("abc", "format=jsonl", "length=3", "greedy=true", certain=0.75).out.splitlines()
    assert json.loads(line)["mean_log_probability"] == pytest.approx(-0.28768207)  # log 0.75
    words = ("format=jsonl", "stop=c", "greedy=true", "log_probabilities=true")
    (line,) = written("abc", *words, certain=0.75).out.splitlines()
    row = json.loads(line)
    assert row["text"] == "ab" and row["token_ids"] == Byte().encode("abc").tolist()
    assert row["log_probabilities"] == pytest.approx([-0.28768207] * 3)
    with pytest.raises(UserError, match=r"=true: cannot be combined with format=text; choose format=jsonl"):
        written("abc", "log_probabilities=true")


def test_prompts_of_a_file_are_continued_in_their_order_and_records_keep_their_keys(written, tmp_path):
    lines = [{"prompt": "\n" * (number % 3), "id": number} for number in range(5)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for size in (1, 2, 64):
        shown = written("0123", "prompts=p.jsonl", "format=jsonl", "samples=2", "length=2", f"batch_size={size}")
        rows = [json.loads(line) for line in shown.out.splitlines()]
        assert [(row["id"], row["sample"], row["prompt"], row["text"]) for row in rows] == [
            (number, sample, "\n" * (number % 3), "0123"[number % 3 :][:2]) for number in range(5) for sample in (1, 2)
        ]
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "text": "b"}')
    with pytest.raises(UserError, match=r"prompts=p\.jsonl, line 1: the key text is one of the output's own"):
        written("0", "prompts=p.jsonl", "format=jsonl")


def test_beam_search_writes_the_best_texts_with_their_scores(written, tmp_path):
    """A script of 3 tokens of probability 3/4: the best text is the script, the next ones differ in one token."""
    (tmp_path / "p.jsonl").write_text('{"prompt": "\\n\\n", "id": 7}\n{"prompt": "", "id": 8}\n')
    words = ("prompts=p.jsonl", "format=jsonl", "length=2", "beams=3", "best=2", "length_penalty=1")
    for size in (1, 64):
        shown = written("abcd", *words, f"batch_size={size}", certain=0.75)
        rows = [json.loads(line) for line in shown.out.splitlines()]
        assert [(row["id"], row["rank"]) for row in rows] == [(7, 1), (7, 2), (8, 1), (8, 2)]
        assert rows[0]["text"] == "cd" and rows[2]["text"] == "ab"
        assert rows[1]["text"] != "cd" and (rows[1]["text"][0] == "c" or rows[1]["text"][1] == "d")
        log, other = -0.28768207, -6.92755791  # log 0.75 and log(0.25 / 255)
        assert [row["score"] for row in rows] == pytest.approx([log, (log + other) / 2] * 2)
        assert "sample" not in rows[0] and "seed" not in rows[0]
        assert {row["decoding"] for row in rows} == {"beams=3 length_penalty=1.0 length=2"}
    shown = written("abcd", "length=3", "beams=2", "stop=c", certain=0.75)
    assert shown.out == "ab\n" and "ended by stop" in shown.err
    assert written("abc", "length=2", "beams=2", "best=2", certain=0.75).out.startswith("rank 1\nab\nrank 2\n")
    with pytest.raises(UserError, match="samples=20: cannot be combined with beams=4.*; best=20 returns as many"):
        written("abc", "beams=4", "samples=20")


def test_an_output_holds_what_standard_output_would(written, tmp_path):
    (tmp_path / "p.txt").write_text("\n\nx\n")
    for words in (["samples=2"], ["prompts=p.txt"]):
        text = written("0123", *words, "length=2").out
        shown = written("0123", *words, "length=2", "output=o.txt")
        assert (tmp_path / "o.txt").read_text() == text
        assert shown.out == "Written to o.txt\n" and "0123456789: " in shown.err
    records = written("0123", "samples=2", "length=2", "format=jsonl").out
    assert written("0123", "samples=2", "length=2", "output=o.jsonl").out == "Written to o.jsonl\n"
    assert (tmp_path / "o.jsonl").read_text() == records
    for words, message in (
        (["output=o.csv"], r"output=o\.csv: expected a file that ends in \.txt or \.jsonl"),
        (["output=no/o.txt"], r"output=no/o\.txt: there is no folder"),
        (["output=p.txt", "prompts=p.txt"], r"output=p\.txt: is the file of the prompts"),
        (["output=o.txt", "format=jsonl"], r"format=jsonl: cannot be combined with output=o\.txt; leave format out"),
        (["output=o.txt", "log_probabilities=true"], "log_probabilities=true: cannot be combined with format=text"),
    ):
        with pytest.raises(UserError, match=message):
            written("0123", *words)


def test_the_most_probable_option_is_chosen(written, tmp_path):
    """A script of probability 3/4 for each of its tokens."""
    lines = [{"prompt": "", "choices": ["b", "ab", "a"], "id": 1}, {"prompt": "\n", "choices": ["ac", "abcd", "bcd"]}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert written("abcde", 'options=["b","ab","a"]', certain=0.75).out == "a\n"
    assert written("\ta", 'options=["a","\\t"]', certain=0.75).out == "\t\n"
    log, other = -0.28768207, -6.92755791  # log 0.75 and log(0.25 / 255)
    words = ("prompts=p.jsonl", "options=choices", "format=jsonl", "batch_size=2")
    one, two = (json.loads(line) for line in written("abcde", *words, certain=0.75).out.splitlines())
    assert (one["text"], one["id"], one["run"], one["score_per"]) == ("a", 1, "0123456789", "text")
    assert one["scores"] == pytest.approx({"b": other, "ab": 2 * log, "a": log})
    assert two["text"] == "bcd" and two["choices"] == lines[1]["choices"]
    assert two["scores"] == pytest.approx({"ac": other + log, "abcd": 4 * other, "bcd": 3 * log})
    for per in ("token", "byte"):
        one, two = map(json.loads, written("abcde", *words, f"score_per={per}", certain=0.75).out.splitlines())
        assert one["scores"] == pytest.approx({"b": other, "ab": log, "a": log})
        assert two["scores"] == pytest.approx({"ac": (other + log) / 2, "abcd": other, "bcd": log})
    assert written("abcde", "prompts=p.jsonl", "options=choices", "output=o.txt", certain=0.75).out
    assert (tmp_path / "o.txt").read_text() == "a\n\nbcd\n"
    (tmp_path / "q.jsonl").write_text('{"prompt": "", "choices": ["a", "a"]}')
    for words, message in (
        (
            ["options=yes"],
            "options=yes: expected a list of texts .* or a key of the records .*; prompt has",
        ),
        (["options=choice", "prompts=p.jsonl"], r"options=choice: .*p\.jsonl, line 1 has no such key.*choices"),
        (["options=choices", "prompts=q.jsonl"], r"q\.jsonl, line 1: choices: expected at least two different texts"),
        (['options=["a"]'], "expected at least two different texts"),
        (['options=["a",""]'], "expected a list of texts of at least one character"),
        (['options=["a","b"]', "samples=3"], "options=.*: writes no text of its own; leave out .*samples"),
    ):
        with pytest.raises(UserError, match=message):
            written("abcde", *words)


def test_an_interrupted_output_leaves_the_earlier_file(written, tmp_path, monkeypatch):
    (tmp_path / "o.txt").write_text("earlier")
    monkeypatch.setattr(generate.Output, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        written("0123", "samples=2", "length=2", "output=o.txt")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["o.txt"]
    assert (tmp_path / "o.txt").read_text() == "earlier"


def test_texts_can_be_told_apart(written, tmp_path):
    assert written("012", "samples=2", "length=2").out == "sample 1\n01\nsample 2\n01\n"
    (tmp_path / "p.txt").write_text("a\nb\n")
    assert written("012", "prompts=p.txt", "length=1").out == "prompt 1\na1\nprompt 2\nb1\n"
    several = written("012", "prompts=p.txt", "length=1", "samples=2").out.splitlines()
    assert several[::2] == ["prompt 1, sample 1", "prompt 1, sample 2", "prompt 2, sample 1", "prompt 2, sample 2"]


def test_prompt_and_prompts_are_two_ways_of_one_thing(written):
    with pytest.raises(UserError, match=r"prompt=a: cannot be combined with prompts=p\.txt; leave one of them out"):
        written("0", "prompt=a", "prompts=p.txt")


@pytest.mark.parametrize(
    ("typed", "strings"),
    [
        ("stop=END", ["END"]),
        ("stop=5", ["5"]),
        ("stop=null", []),
        ("stop=\\n", ["\n"]),
        ('stop=["\\n\\n"]', ["\n\n"]),
        ('stop=["a, b",c d,"\\\\n", \'"\']', ["a, b", "c d", "\\n", '"']),
        ('stop=["\\u00e9\\ud83d\\ude00"]', ["é😀"]),
        ("stop=${x} \\d", ["${x} \\d"]),
    ],
)
def test_stop_strings_are_read_as_they_are_typed(typed, strings, compose):
    assert read_stop(compose(read(typed), command="generate")["stop"]) == strings


@pytest.mark.parametrize("stop", ["", ["a", ""]])
def test_an_empty_stop_string_is_refused(stop):
    with pytest.raises(UserError, match="stop=.*: expected texts of at least one character"):
        read_stop(stop)
