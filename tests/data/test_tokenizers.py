import argparse
import inspect
import json
import random
import string
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.corpora import TinyShakespeare, WikiText2
from lmlab.data.tokenizers import BPE, Byte, Character, Unigram, Word, cutting, load_tokenizer, unigram
from lmlab.data.tokenizers import word as word_module
from lmlab.errors import UserError

PROSE = (
    "It was the best of times, it was the worst of times,\nit was the age of wisdom, it was the age of foolishness.\n"
)


def fitted(tokenizer, *documents):
    tokenizer.fit(documents)
    return tokenizer


FITTED = [Byte(), *(fitted(one, PROSE) for one in (Character(), Word(), BPE(280), Unigram(260)))]


@pytest.mark.parametrize("tokenizer", FITTED, ids=lambda tokenizer: type(tokenizer).__name__)
class TestEvery:
    def test_text_of_the_training_split_comes_back(self, tokenizer):
        ids = tokenizer.encode(PROSE)
        assert ids.dtype == np.int32
        assert ids.min() >= 0
        assert ids.max() < tokenizer.size
        assert tokenizer.decode(ids) == PROSE
        assert tokenizer.outside(PROSE) == []

    def test_types_are_the_bytes_that_tokens_stand_for(self, tokenizer):
        types = tokenizer.types()
        assert len(types) == tokenizer.size == len(set(types))
        text = PROSE if isinstance(tokenizer, (Word, Character)) else PROSE + "naïve \x00 日本"
        between = b" " if isinstance(tokenizer, Word) else b""
        joined = between.join(types[number] for number in tokenizer.encode(text))
        assert joined.replace(b" \n ", b"\n").replace(b" \n", b"\n") == text.encode()

    @given(st.text())
    def test_any_text_comes_back_if_it_is_reversible(self, tokenizer, text):
        ids, types = tokenizer.encode(text), tokenizer.types()
        prompt = tokenizer.encode_prompt(text)
        assert prompt.tolist() == ids[: len(prompt)].tolist()
        if tokenizer.reversible:
            assert tokenizer.decode(ids) == text
            assert b"".join(types[id] for id in ids) == text.encode()
        else:
            assert isinstance(tokenizer, (Word, Character))

    def test_separator_decodes_to_a_line_end(self, tokenizer):
        ids = np.concatenate([tokenizer.encode("the age"), [tokenizer.separator], tokenizer.encode("wisdom,")])
        text = "the age\nwisdom," if not isinstance(tokenizer, Word) else "the age\n\nwisdom,\n"
        assert tokenizer.decode(ids) == text

    def test_saved_and_loaded_is_the_same(self, tokenizer, tmp_path):
        tokenizer.save(tmp_path)
        loaded = load_tokenizer(tmp_path, type(tokenizer))
        assert type(loaded) is type(tokenizer)
        assert (loaded.size, loaded.separator) == (tokenizer.size, tokenizer.separator)
        assert loaded.fingerprint() == tokenizer.fingerprint()
        other = "the worst wisdom of all"
        assert loaded.encode(other).tolist() == tokenizer.encode(other).tolist()

    def test_many_documents_are_encoded_as_one_by_one(self, tokenizer):
        documents = [PROSE, "the age", PROSE[:20]]
        for together, alone in zip(tokenizer.encode_all(documents), map(tokenizer.encode, documents), strict=True):
            assert together.tolist() == alone.tolist()

    @given(text=st.text(alphabet=st.sampled_from("the w\t\n,\u2028é"), max_size=60), cuts=st.lists(st.integers(0, 60)))
    def test_pieces_are_those_of_the_whole_wherever_chunks_are_cut(self, tokenizer, text, cuts):
        bounds = [0, *sorted(cuts), len(text)]
        chunks = [text[first:end] for first, end in pairwise(bounds) if text[first:end]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cutting, "PIECE", 3)
            pieces = [*tokenizer.pieces(chunks)]
            ids = [id for piece in pieces for id in tokenizer.encode(piece).tolist()]
        assert "".join(pieces) == text
        assert ids == tokenizer.encode(text).tolist()

    def test_empty_text_has_no_tokens(self, tokenizer):
        assert tokenizer.encode("").tolist() == []
        assert tokenizer.decode(np.array([], np.int32)) == ""


class TestByte:
    @given(st.text())
    def test_is_utf8(self, text):
        ids = Byte().encode(text)
        assert bytes(ids.tolist()) == text.encode()
        assert Byte().decode(ids) == text

    def test_half_a_character_is_replaced(self):
        assert Byte().decode(Byte().encode("aé")[:-1]) == "a�"


class TestCharacter:
    @given(st.text(min_size=1))
    def test_types_are_the_distinct_characters(self, text):
        tokenizer = fitted(Character(), text)
        ids = tokenizer.encode(text)
        assert tokenizer.size == len(set(text))
        assert ids.tolist() == [sorted(set(text)).index(character) for character in text]
        assert tokenizer.decode(ids) == text

    def test_unseen_characters_become_the_separator_and_are_counted(self):
        tokenizer = fitted(Character(), "abc\n")
        assert tokenizer.encode("xa€\U0001f600").tolist() == [0, 1, 0, 0]
        assert tokenizer.separator == 0
        assert tokenizer.outside("xa€\U0001f600\n") == ["x", "€", "\U0001f600"]

    def test_tiny_shakespeare_has_65_types(self, corpora):
        corpus = TinyShakespeare()
        corpus.find(corpora, corpora)
        tokenizer = fitted(Character(), *corpus.documents("train"))
        assert tokenizer.size == 65
        assert not any(map(tokenizer.outside, corpus.documents("validation")))


class TestWord:
    def test_types_fall_in_frequency(self):
        tokenizer = fitted(Word(), "b a b\na b c\n")
        assert tokenizer.decode(np.arange(2, 5)) == "b a c"
        assert tokenizer.encode("c  b\tz\n\na").tolist() == [4, 2, 0, 1, 1, 3, 1]

    def test_size_keeps_the_most_frequent(self):
        tokenizer = fitted(Word(4), "b a b\na b c\n")
        assert tokenizer.size == 4
        assert tokenizer.encode("a b c").tolist() == [3, 2, 0, 1]
        assert tokenizer.outside("a b c\nd <unk>") == ["c", "d"]

    def test_memory_for_different_words_is_limited(self, monkeypatch):
        monkeypatch.setattr(word_module, "_MOST_WORDS", 100)
        tokenizer = fitted(Word(), *(f"the {number}\nthe cat\n" for number in range(1000)))
        assert tokenizer.decode(np.arange(2, 4)) == "the cat"
        assert tokenizer.size <= 102

    def test_too_small_size(self):
        with pytest.raises(UserError, match=r"tokenizer\.size=2"):
            Word(2)

    def test_wikitext2_has_the_published_counts(self, corpora):
        corpus = WikiText2()
        corpus.find(corpora, corpora)
        tokenizer = fitted(Word(), *corpus.documents("train"))
        assert tokenizer.size == 33_278
        counts = [sum(map(len, tokenizer.encode_all(corpus.documents(split)))) for split in corpus.splits]
        assert counts == [2_088_628, 217_646, 245_569]


@pytest.fixture(scope="module")
def source():
    """Some 100 kB of Python."""
    return inspect.getsource(argparse)


@pytest.fixture(scope="module")
def trained(source):
    return fitted(BPE(700), source)


class TestBPE:
    @given(st.text())
    def test_any_text_comes_back(self, trained, text):
        ids = trained.encode(text)
        assert trained.decode(ids) == text
        assert trained.separator not in ids

    @given(st.text(alphabet=st.sampled_from("ab1_ \n\t\r\u00a0\u2028'é,—"), max_size=60))
    def test_pieces_are_encoded_as_the_whole(self, trained, text):
        whole = trained.encode(text).tolist()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cutting, "PIECE", 1)
            assert "".join(trained.pieces([text])) == text
            assert trained.encode(text).tolist() == whole

    def test_merges_are_those_of_the_definition(self):
        """Sennrich et al. 2016, algorithm 1, on words without ties for the most frequent pair."""
        words = {"Ġabab": 5, "Ġabc": 4, "Ġbcc": 2}
        text = "".join(word.replace("Ġ", " ") * count for word, count in words.items())
        parts = {word: list(word) for word in words}
        expected = []
        for _ in range(3):
            pairs: dict[tuple[str, str], int] = {}
            for word, count in words.items():
                for pair in zip(parts[word], parts[word][1:], strict=False):
                    pairs[pair] = pairs.get(pair, 0) + count
            best = max(pairs, key=lambda pair: pairs[pair])
            assert list(pairs.values()).count(pairs[best]) == 1
            expected.append(list(best))
            for word in words:
                old, new = parts[word], []
                while old:
                    width = 2 if tuple(old[:2]) == best else 1
                    new.append("".join(old[:width]))
                    old = old[width:]
                parts[word] = new
        assert fitted(BPE(256 + 3 + 1), text).state()["merges"] == expected

    def test_training_text_in_pieces_gives_the_same_merges(self, source, trained, monkeypatch):
        monkeypatch.setattr(cutting, "PIECE", 1000)
        assert fitted(BPE(700), source).fingerprint() == trained.fingerprint()

    def test_long_stretches_without_a_split_point_come_back(self, trained, monkeypatch):
        monkeypatch.setattr(cutting, "LONGEST_PIECE", 1000)
        monkeypatch.setattr(cutting, "PIECE", 100)
        draw = random.Random(0)
        for alphabet in ("ACGT", "é", " ", "\n", "=", "a1"):
            text = "".join(draw.choices(alphabet, k=5000))
            assert trained.decode(trained.encode(text)) == text
            chunks = [text[first : first + 700] for first in range(0, 5000, 700)]
            assert [*trained.pieces(chunks)] == [*trained.pieces([text])], "cut at the same places"
            assert max(map(len, trained.pieces([text]))) <= 1000

    def test_a_word_of_512_bytes_is_one_segment_and_a_longer_one_is_divided(self):
        tokenizer = fitted(BPE(256 + 9 + 1), *["a" * 512] * 3)
        assert len(tokenizer.encode("a" * 512)) == 1, "nine merges, each of two equal halves"
        assert len(tokenizer.encode("a" * 1024)) == 2
        with pytest.raises(UserError, match="no more than 266 types"):
            fitted(BPE(256 + 10 + 1), "a" * 1024)

    @pytest.mark.slow  # it compares times
    @pytest.mark.parametrize("alphabet", ["ACGT", string.ascii_letters + string.digits + "+/"])
    def test_a_long_line_takes_no_longer_than_the_same_text_in_lines(self, alphabet):
        line = "".join(random.Random(0).choices(alphabet, k=400_000))
        lines = "\n".join(line[first : first + 80] for first in range(0, len(line), 80))

        def seconds(text: str) -> float:
            begun = time.perf_counter()
            tokenizer = fitted(BPE(), text)
            assert tokenizer.decode(tokenizer.encode(text)) == text
            return time.perf_counter() - begun

        assert min(seconds(line) for _ in range(3)) < 2 * min(seconds(lines) for _ in range(3))

    def test_another_process_finds_the_same_merges(self, trained):
        program = (
            "import argparse, inspect; from lmlab.data.tokenizers import BPE; t = BPE(700);"
            "t.fit([inspect.getsource(argparse)]); print(t.fingerprint())"
        )
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == trained.fingerprint()

    def test_text_that_spells_a_special_token_is_only_text(self, trained):
        assert trained.separator not in trained.encode("<eos> <|endoftext|> <unk>")

    def test_sizes_that_cannot_be(self):
        with pytest.raises(UserError, match=r"tokenizer\.size=256: expected at least 257"):
            BPE(256)
        with pytest.raises(UserError, match=r"tokenizer\.size=4096: .* supports no more than \d+ types"):
            fitted(BPE(), PROSE)
        assert fitted(BPE(257), PROSE).encode("é").tolist() == fitted(BPE(257), "").encode("é").tolist()


@pytest.fixture(scope="module")
def pieces(source):
    return fitted(Unigram(700), source)


class TestUnigram:
    def test_a_text_is_divided_with_the_greatest_probability(self, pieces):
        """Against all divisions of each word, one by one."""
        types = pieces.types()
        scores = dict(zip(types, [score for _, score in pieces.state()["pieces"]], strict=False))

        def best(word: bytes) -> float:
            parts = ((word[:n], word[n:]) for n in range(1, len(word) + 1))
            return max(scores[first] + best(rest) for first, rest in parts if first in scores) if word else 0.0

        for word in (" parser", " argument", " default", " é", " zzzz", " self"):
            total = sum(scores[types[id]] for id in pieces.encode(word))
            assert total == pytest.approx(best(word.encode()))

    def test_frequent_words_are_types(self, pieces):
        assert {b"self", b"action", b"option"} <= set(pieces.types())
        assert len(pieces.encode("self")) == 1

    def test_types_are_the_bytes_and_then_fall_in_probability(self, pieces):
        assert {bytes([byte]) for byte in range(256)} == set(pieces.types()[:256])
        scores = [score for _, score in pieces.state()["pieces"][256:]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 700 - 256 - 1

    def test_training_text_in_pieces_gives_the_same_types(self, source, pieces, monkeypatch):
        monkeypatch.setattr(cutting, "PIECE", 1000)
        assert fitted(Unigram(700), source).fingerprint() == pieces.fingerprint()

    def test_long_stretches_are_divided_into_segments_of_512_bytes(self, pieces, monkeypatch):
        monkeypatch.setattr(cutting, "LONGEST_PIECE", 1000)
        monkeypatch.setattr(cutting, "PIECE", 100)
        longest = []
        train = unigram._train

        def noted(counts, number, size):
            longest.append(max(map(len, counts)))
            return train(counts, number, size)

        monkeypatch.setattr(unigram, "_train", noted)
        draw = random.Random(0)
        for alphabet in ("ACGT", "é", " ", "\n", "a1+/"):
            text = "".join(draw.choices(alphabet, k=5000))
            assert max(map(len, pieces.pieces([text]))) <= 1000
            assert pieces.decode(pieces.encode(text)) == text
            fitted(Unigram(257), text)
        assert len(longest) == 5 and max(longest) == 512

    def test_text_that_spells_a_special_token_is_only_text(self, pieces):
        assert pieces.separator not in pieces.encode("<eos> <|endoftext|> <unk> <s> </s> ▁")

    def test_sizes_that_cannot_be(self):
        with pytest.raises(UserError, match=r"tokenizer\.size=256: expected at least 257"):
            Unigram(256)
        with pytest.raises(UserError, match=r"tokenizer\.size=4096: .* supports no more than (\d+) types") as error:
            fitted(Unigram(), PROSE)
        most = int(str(error.value).split()[-2])
        assert fitted(Unigram(most), PROSE).size == most
        assert fitted(Unigram(257), "").decode(fitted(Unigram(257), "").encode("é")) == "é"

    @pytest.mark.slow  # another process trains
    def test_another_process_finds_the_same_types(self, pieces):
        program = (
            "import argparse, inspect; from lmlab.data.tokenizers import Unigram; t = Unigram(700);"
            "t.fit([inspect.getsource(argparse)]); print(t.fingerprint())"
        )
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == pieces.fingerprint()


class TestLoading:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
            load_tokenizer(tmp_path, BPE)

    def test_cut_short(self, tmp_path):
        FITTED[3].save(tmp_path)
        path = tmp_path / "tokenizer.json"
        path.write_text(path.read_text()[:100])
        with pytest.raises(UserError, match="is not a saved tokenizer"):
            load_tokenizer(tmp_path, type(FITTED[3]))

    def test_another_class(self, tmp_path):
        (tmp_path / "tokenizer.json").write_text(json.dumps({"class": "Bite"}))
        with pytest.raises(UserError, match="holds a tokenizer of class Bite, not Byte"):
            load_tokenizer(tmp_path, Byte)
