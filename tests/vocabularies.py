"""Small vocabularies in every form that ``tokenizer=pretrained`` reads, trained by the library of each form."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lmlab.data.tokenizers.byte_level import bytes_of_symbols

PROSE = (
    "It was the best of times, it was the worst of times,\nit was the age of wisdom, it was the age of foolishness.\n"
    "It was the epoch of belief, it was the epoch of incredulity, it was the season of light.\n"
) * 4
UNKNOWN, END = "<unk>", "</s>"


def byte_level(path: Path) -> None:
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    model.train_from_iterator([PROSE], trainer)
    model.save(str(path))


def llama(path: Path) -> None:
    """The form of Llama 2: spaces as visible signs, and bytes for characters without a type."""
    model = Tokenizer(models.BPE(byte_fallback=True, unk_token=UNKNOWN, fuse_unk=True))
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    model.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    model.decoder = decoders.Sequence(parts)
    special = [UNKNOWN, "<s>", END, *(f"<0x{byte:02X}>" for byte in range(256))]
    model.train_from_iterator([PROSE], trainers.BpeTrainer(vocab_size=340, special_tokens=special, show_progress=False))
    content = json.loads(model.to_str())
    content["pre_tokenizer"] = None
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["content"].startswith("<0x")]
    path.write_text(json.dumps(content))


def word_piece(path: Path) -> None:
    model = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    model.normalizer = normalizers.BertNormalizer()
    model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    model.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    model.train_from_iterator(
        [PROSE], trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    )
    model.save(str(path))


def unigram_json(path: Path) -> None:
    letters = ((letter, -4.0) for letter in "▁abeghstw")
    model = Tokenizer(models.Unigram([(UNKNOWN, 0.0), (END, 0.0), ("▁the", -2.0), *letters], 0))
    model.normalizer, model.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    model.decoder = decoders.Metaspace()
    model.add_special_tokens([UNKNOWN, END])
    model.save(str(path))


def sentence_piece(path: Path, **options: Any) -> None:
    from sentencepiece import SentencePieceTrainer

    content = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(PROSE.splitlines()), model_writer=content, num_threads=1, minloglevel=2, **options
    )
    path.write_bytes(content.getvalue())


def ranks(path: Path) -> None:
    byte_level(path)
    ids = json.loads(path.read_text())["model"]["vocab"]
    del ids["<|endoftext|>"]
    byte_of = bytes_of_symbols()
    tokens = [bytes(byte_of[sign] for sign in token) for token in sorted(ids, key=lambda token: ids[token])]
    path.write_text("".join(f"{base64.b64encode(token).decode()} {id}\n" for id, token in enumerate(tokens)))


EXACT = {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}
WRITERS: dict[str, Callable[[Path], None]] = {
    "byte_level.json": byte_level,
    "llama.json": llama,
    "word_piece.json": word_piece,
    "unigram.json": unigram_json,
    "unigram.model": lambda path: sentence_piece(path, vocab_size=60, hard_vocab_limit=False),
    "bpe.model": lambda path: sentence_piece(path, vocab_size=310, model_type="bpe", **EXACT),
    "exact.model": lambda path: sentence_piece(path, vocab_size=310, model_type="bpe", add_dummy_prefix=False, **EXACT),
    "ranks.tiktoken": ranks,
}
"""Functions that write a vocabulary, by the name of the file."""
