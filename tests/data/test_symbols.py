import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.tokenizers import Symbols, load_tokenizer
from lmlab.errors import UserError


@given(st.lists(st.integers(0, 8191)))
def test_symbols_are_written_and_read(symbols):
    tokenizer = Symbols(8192)
    text = " ".join(map(str, symbols))
    assert tokenizer.decode(np.array(symbols, np.int64)) == text
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == symbols
    assert tokenizer.outside(text) == []


def test_white_space_of_any_kind_separates():
    assert Symbols(13).encode(" 12 5\n7\t0 ").tolist() == [12, 5, 7, 0]


@pytest.mark.parametrize("word", ["13", "-1", "a", "1.0", "٣", "1_0", "9" * 5000, "²"])
def test_what_is_no_symbol_is_refused(word):
    with pytest.raises(UserError, match="is not a symbol: expected one of the numbers 0 to 12"):
        Symbols(13).encode(f"1 {word} 2")


def test_its_size_is_given_later():
    tokenizer = Symbols()
    assert not tokenizer.fitted
    assert Symbols.from_state(tokenizer.state()).fitted is False
    tokenizer.fit(["3 1", "12", ""])
    assert tokenizer.fitted
    assert (tokenizer.size, tokenizer.separator) == (13, 0)
    given = Symbols(20)
    given.fit(["3"])
    assert given.fitted and given.size == 20
    with pytest.raises(UserError, match="'x' is not a symbol: expected a decimal number"):
        Symbols().fit(["1 x"])


def test_saved_and_loaded_is_the_same(tmp_path):
    Symbols(13).save(tmp_path)
    loaded = load_tokenizer(tmp_path, Symbols)
    assert loaded.size == 13
    assert loaded.fingerprint() == Symbols(13).fingerprint() != Symbols(14).fingerprint()


def test_no_size_at_all_is_refused():
    with pytest.raises(UserError, match=r"tokenizer\.size=0: expected at least 1, or null"):
        Symbols(0)
