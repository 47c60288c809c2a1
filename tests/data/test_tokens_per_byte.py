from types import SimpleNamespace

import numpy as np
import pytest

from lmlab.data import shards
from lmlab.data.shards import TokenizedCorpus
from lmlab.data.tokenizers import BPE, Byte, Word

TEXT = "a long-winded line of ordinary words\n" * 3 + "xx yy zz qq\n" * 20


@pytest.mark.parametrize("kind", [Byte, Word, lambda: BPE(280)])
@pytest.mark.parametrize("lines", [1, 3, 10])
def test_the_bytes_of_the_first_tokens_are_those_of_their_text(kind, lines):
    tokenizer = kind()
    tokenizer.fit([TEXT])
    ids = tokenizer.encode(TEXT)
    corpus = SimpleNamespace(
        tokenizer=tokenizer,
        tokens=lambda split: np.concatenate([[tokenizer.separator], ids]),
        count=lambda split: len(ids),
        bytes=lambda split: len(TEXT.encode()),
    )
    part = "".join(TEXT.splitlines(keepends=True)[:lines])
    first = len(tokenizer.encode(part))
    assert TokenizedCorpus.tokens_per_byte(corpus, "validation", first) == pytest.approx(first / len(part.encode()))
    assert TokenizedCorpus.tokens_per_byte(corpus, "validation", len(ids)) == TokenizedCorpus.tokens_per_byte(
        corpus, "validation"
    )


def test_a_large_split_is_decoded_in_parts(monkeypatch):
    tokenizer = BPE(280)
    tokenizer.fit([TEXT])
    ids = tokenizer.encode(TEXT)
    monkeypatch.setattr(shards, "CHUNK", 7)
    assert shards._decoded_size(tokenizer, ids) == len(TEXT.encode())
