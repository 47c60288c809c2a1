"""Tokenizers: maps between text and token ids. One file each."""

from lmlab.data.tokenizers.bpe import BPE
from lmlab.data.tokenizers.byte import Byte
from lmlab.data.tokenizers.character import Character
from lmlab.data.tokenizers.pretrained import Pretrained, TikToken
from lmlab.data.tokenizers.symbols import Symbols
from lmlab.data.tokenizers.tokenizer import Tokenizer, encode_prompt, left_out, load_tokenizer, unknown_parts
from lmlab.data.tokenizers.unigram import Unigram
from lmlab.data.tokenizers.word import Word

__all__ = [
    "BPE",
    "Byte",
    "Character",
    "Pretrained",
    "Symbols",
    "TikToken",
    "Tokenizer",
    "Unigram",
    "Word",
    "encode_prompt",
    "left_out",
    "load_tokenizer",
    "unknown_parts",
]
