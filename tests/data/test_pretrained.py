import base64
import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import PROSE, WRITERS

from lmlab.data.text_stream import TextStream
from lmlab.data.tokenizers import Pretrained, TikToken, cutting, load_tokenizer, unknown_parts
from lmlab.data.tokenizers.vocabularies import PATTERNS
from lmlab.errors import UserError

ODD = "naïve 日本 \U0001f600 \0 \ufeff x\u0301\r\n\t<|endoftext|> </s> <unk>"
REVERSIBLE = {"byte_level.json", "ranks.tiktoken"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabularies")
    for name, write in WRITERS.items():
        write(folder / name)
    return folder


def read(path, **options):
    return Pretrained(str(path), pattern="gpt2" if path.suffix == ".tiktoken" else None, **options)


@pytest.fixture(scope="module", params=WRITERS)
def tokenizer(request, folder):
    tokenizer = read(folder / request.param)
    tokenizer.name = request.param
    return tokenizer


def of_library(path, text):
    """The ids of a text from the library that wrote the file, which reads no special token in it."""
    if path.suffix == ".json":
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False).ids
    if path.suffix == ".model":
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(path)).encode(text)
    return of_library(path.with_name("byte_level.json"), text)


class TestEvery:
    def test_ids_are_those_of_the_library(self, tokenizer, folder):
        for text in (PROSE, "  two  spaces", "naïve 日本", "x"):
            expected = of_library(folder / tokenizer.name, text)
            if tokenizer.name == "ranks.tiktoken":  # there, id 0 is the special token
                expected = [id - 1 for id in expected]
            assert tokenizer.encode(text).tolist() == expected

    def test_only_what_leaves_every_byte_is_reversible(self, tokenizer):
        assert tokenizer.reversible == (tokenizer.name in REVERSIBLE)

    @given(st.text())
    def test_text_comes_back_if_it_is_reversible(self, tokenizer, text):
        ids = tokenizer.encode(text)
        assert tokenizer.separator not in ids
        if tokenizer.reversible:
            assert tokenizer.decode(ids) == text
            types = tokenizer.types()
            assert b"".join(types[id] for id in ids) == text.encode()

    @given(st.text(st.characters(exclude_characters="▁", exclude_categories=("Cs",))))
    def test_with_exact_spaces_all_but_the_sign_for_a_space_comes_back(self, folder, text):
        for name in ("llama.json", "bpe.model", "exact.model"):
            if name not in _read:
                _read[name] = read(folder / name)
            assert _read[name].decode(_read[name].encode(text)) == text

    def test_the_end_of_a_document_is_the_separator_and_a_line_end(self, tokenizer):
        one, two = tokenizer.encode("the age"), tokenizer.encode("the best")
        both = np.concatenate([one, [tokenizer.separator], two])
        assert tokenizer.decode(both) == f"{tokenizer.decode(one)}\n{tokenizer.decode(two)}" == "the age\nthe best"
        assert tokenizer.end_of_document == tokenizer.separator < tokenizer.size

    def test_saved_and_loaded_is_the_same_without_the_file(self, tokenizer, folder, tmp_path):
        copy = Path(shutil.copy(folder / tokenizer.name, tmp_path))
        original = read(tmp_path / tokenizer.name)
        original.save(tmp_path)
        copy.unlink()
        loaded = load_tokenizer(tmp_path, Pretrained)
        assert loaded.fingerprint() == original.fingerprint() == tokenizer.fingerprint()
        assert (loaded.size, loaded.separator) == (tokenizer.size, tokenizer.separator)
        assert loaded.encode(ODD).tolist() == tokenizer.encode(ODD).tolist()
        assert loaded.types() == tokenizer.types() and len(loaded.types()) == loaded.size

    @given(text=st.text(alphabet=st.sampled_from("thew 1\n\t,é▁"), max_size=60), cuts=st.lists(st.integers(0, 60)))
    def test_pieces_are_those_of_the_whole_wherever_chunks_are_cut(self, tokenizer, text, cuts):
        bounds = [0, *sorted(cuts), len(text)]
        chunks = [text[first:end] for first, end in pairwise(bounds) if text[first:end]]
        whole = tokenizer.encode(text).tolist()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cutting, "PIECE", 2)
            pieces = [*tokenizer.pieces(chunks)]
            assert "".join(pieces) == text
            assert [id for piece in pieces for id in tokenizer.encode(piece).tolist()] == whole
            assert tokenizer.encode(text).tolist() == whole

    def test_no_stretch_of_text_is_encoded_as_a_whole_if_it_is_long(self, tokenizer, monkeypatch):
        monkeypatch.setattr(cutting, "PIECE", 50)
        monkeypatch.setattr(cutting, "LONGEST_PIECE", 100)
        for text in ("ACGT" * 100, " " * 400, PROSE):
            longest = max(map(len, tokenizer._parts([text])))
            assert longest <= 100 or (tokenizer._prefix and " " not in text.strip()), "its words begin with a space"
            if tokenizer.reversible:
                assert tokenizer.decode(tokenizer.encode(text)) == text

    def test_a_stream_of_tokens_gives_the_text(self, tokenizer):
        for text in (PROSE, ODD):
            ids = tokenizer.encode(text)
            stream = TextStream(tokenizer, [])
            assert "".join([*(stream.add(int(id)) for id in ids), stream.rest()]) == tokenizer.decode(ids)


_read = {}


def test_parts_outside_the_vocabulary_are_named(folder):
    bert, t5, llama = (read(folder / name) for name in ("word_piece.json", "unigram.json", "llama.json"))
    assert bert.outside("the € was\0") == ["€", "\0"]
    assert t5.outside("the €x") == ["€x"]
    assert t5.outside("the </s>") == ["</s>"], "the end of a document does not occur in a text"
    assert llama.outside("the € \0") == []
    assert unknown_parts(bert, "the €", "prompt") == "prompt: 1 token outside the vocabulary, left out: '€'"


def test_special_tokens_are_named_by_the_file_by_usual_names_or_by_the_option(folder):
    sizes = {name: read(folder / name).size for name in WRITERS}
    ends = {name: read(folder / name).separator for name in WRITERS}
    assert ends["byte_level.json"] == 0 and ends["llama.json"] == ends["bpe.model"] == 2
    assert ends["word_piece.json"] == sizes["word_piece.json"] - 1, "one more id"
    assert read(folder / "word_piece.json", end="[SEP]").separator == 2
    assert read(folder / "word_piece.json", end="[SEP]").size == sizes["word_piece.json"] - 1
    assert read(folder / "bpe.model", end="<s>").separator == 1


def test_special_types_have_no_bytes(folder):
    types = read(folder / "llama.json").types()
    assert types[1] == types[2] == b"" and types[3 + 0xE9] == b"\xe9"


def test_a_folder_of_transformers_is_what_the_library_reads(folder, tmp_path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "byte_level.json"), eos_token="<|endoftext|>")
    fast.save_pretrained(tmp_path)
    tokenizer = Pretrained(str(tmp_path))
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode(PROSE).tolist() == again(PROSE, add_special_tokens=False)["input_ids"]
    assert tokenizer.separator == again.eos_token_id and tokenizer.size == len(again)


def test_the_checksum_is_that_of_the_content(folder, tmp_path):
    path = tmp_path / "other.json"
    shutil.copy(folder / "byte_level.json", path)
    assert Pretrained(str(path)).checksum() == Pretrained(str(folder / "byte_level.json")).checksum()
    path.write_text(path.read_text() + " ")
    assert Pretrained(str(path)).checksum() != Pretrained(str(folder / "byte_level.json")).checksum()
    inside = Pretrained(str(tmp_path)).checksum()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert Pretrained(str(tmp_path)).checksum() == inside


def test_dropout_and_truncation_of_a_file_do_not_apply(folder, tmp_path):
    content = json.loads((folder / "byte_level.json").read_text())
    content["model"]["dropout"] = 0.5
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    expected = read(folder / "byte_level.json").encode(PROSE).tolist()
    assert Pretrained(str(tmp_path / "tokenizer.json")).encode(PROSE).tolist() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just text\n", "is no vocabulary; expected a tokenizer.json, a SentencePiece model"),
        (b"", "is no vocabulary"),
        (b'{"a": ', "is no JSON"),
        (b'{"a": 1}', "has no model; expected the tokenizer.json"),
        (b'{"class": "BPE", "size": 300}', "is a tokenizer of lmlab, of class BPE"),
        (b'{"model": {"type": "Magic"}}', "the tokenizers library cannot read it"),
        (b"IQ== 0\n", "255 of the 256 bytes have no rank"),
        (b"IQ== 0\nIg==\n", "line 2: expected a type in Base64 and its rank"),
    ],
)
def test_files_of_no_form(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        Pretrained(str(path)).check()
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_options_that_do_not_fit(folder, tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.path=/nowhere: there is no such file or folder"):
        Pretrained("/nowhere").checksum()
    with pytest.raises(UserError, match=r"tokenizer\.end=<end>: .* has no such token"):
        read(folder / "llama.json", end="<end>").check()
    with pytest.raises(UserError, match=r"tokenizer\.pattern=gpt2: only for a file of ranks"):
        Pretrained(str(folder / "llama.json"), pattern="gpt2").check()
    with pytest.raises(UserError, match=r"tokenizer\.pattern has no value: .* has 319 ranks"):
        Pretrained(str(folder / "ranks.tiktoken")).check()
    with pytest.raises(UserError, match=r"tokenizer\.pattern=cl100k: unknown \(did you mean 'cl100k_base'\?\)"):
        Pretrained(str(folder / "ranks.tiktoken"), pattern="cl100k").check()
    with pytest.raises(UserError, match=r"tokenizer\.pattern=\(: is no regular expression"):
        Pretrained(str(folder / "ranks.tiktoken"), pattern="(").check()
    with pytest.raises(UserError, match="transformers finds no tokenizer in this folder"):
        Pretrained(str(tmp_path)).check()


@given(st.text())
def test_a_pattern_that_leaves_out_text_loses_none(folder, text):
    if "letters" not in _read:
        _read["letters"] = Pretrained(str(folder / "ranks.tiktoken"), pattern=r"\p{L}+")
    assert _read["letters"].decode(_read["letters"].encode(text)) == text


class TestTikToken:
    @pytest.fixture
    def encoding(self, folder, monkeypatch):
        lines = (line.split() for line in (folder / "ranks.tiktoken").read_text().splitlines())
        ranks = {base64.b64decode(token): int(id) for token, id in lines}
        encoding = tiktoken.Encoding(
            "gpt2", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 400}
        )
        monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)
        return encoding

    def test_ids_are_those_of_the_encoding(self, encoding, tmp_path):
        tokenizer = TikToken("gpt2")
        assert tokenizer.encode(PROSE).tolist() == encoding.encode_ordinary(PROSE)
        assert (tokenizer.size, tokenizer.separator, tokenizer.checksum()) == (401, 400, None)
        assert tokenizer.decode(np.array([*tokenizer.encode("a"), 350, 400, *tokenizer.encode("b")])) == "a\nb"
        tokenizer.save(tmp_path)
        assert load_tokenizer(tmp_path, TikToken).decode(tokenizer.encode(ODD)) == ODD

    def test_without_a_network_one_line_says_what_to_do(self, monkeypatch):
        def get_encoding(name):
            try:
                raise OSError("Name or service not known")
            except OSError as error:
                raise RuntimeError("many\nlines") from error

        monkeypatch.setattr(tiktoken, "get_encoding", get_encoding)
        with pytest.raises(UserError, match=r"not be downloaded \(Name or service not known\); set TIKTOKEN_CACHE_DIR"):
            TikToken("o200k_base").check()
        with pytest.raises(UserError, match=r"tokenizer\.name=o200k: .* \(did you mean 'o200k_base'\?\)"):
            TikToken("o200k").check()


def test_patterns_are_those_of_the_library(monkeypatch):
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: SimpleNamespace())
    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **_: SimpleNamespace())
    for name, pattern in PATTERNS.items():
        assert openai_public.ENCODING_CONSTRUCTORS[name]()["pat_str"] == pattern
