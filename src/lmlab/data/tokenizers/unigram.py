"""A unigram language model of bytes, trained by the ``sentencepiece`` library."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lmlab.data.tokenizers import cutting
from lmlab.data.tokenizers.byte_level import bytes_of_symbols, segments
from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError
from lmlab.processes.signals import in_background

if TYPE_CHECKING:
    import tokenizers

_BYTES = 256
_THREADS = 4  # a constant: sums, which the threads share, are rounded differently by another number of them
_SEEDS = 10  # candidates to begin with, for each type that is kept
_UNSEEN = 10.0  # by which the log probability of a byte that the training text lacks is below the lowest of the others


class Unigram(Tokenizer):
    """A unigram language model of UTF-8 bytes (Kudo 2018), with GPT-2's segmentation into words.

    Among all divisions of a segment into types, the most probable one is taken. A segment of more than 512 bytes is
    divided after every 512. Any text is encoded and decodes to itself. The same training text gives the same types:
    the 256 bytes, then others by falling probability; the last id is the separator, which does not occur in encoded
    texts.

    Args:
        size: number of types, separator included.

    Raises:
        UserError: ``size`` is below 257.
    """

    def __init__(self, size: int = 4096) -> None:
        if size <= _BYTES:
            raise UserError(f"tokenizer.size={size}: expected at least {_BYTES + 1} types: the bytes and a separator")
        self._size = size
        self._pieces: list[tuple[str, float]] = []
        self._model: tokenizers.Tokenizer | None = None
        self._types: list[bytes] = []

    @property
    def fitted(self) -> bool:
        return self._model is not None

    @property
    def size(self) -> int:
        return self._size

    @property
    def separator(self) -> int:
        return self._size - 1

    @property
    def end_of_document(self) -> int:
        return self.separator

    def fit(self, documents: Iterable[str]) -> None:
        split = segments()
        counts: Counter[str] = Counter()
        for document in documents:
            for piece in self.pieces([document]):
                counts.update(segment for segment, _ in split.pre_tokenize_str(piece))
        symbols = sorted(bytes_of_symbols())
        unseen = sorted(set(symbols).difference(*counts))
        trained = dict(_train(counts, self._size - 1 - len(unseen), self._size)) if counts else {}
        lowest = min(trained.values(), default=0.0)
        trained |= dict.fromkeys(unseen, lowest - _UNSEEN)
        others = sorted(trained.keys() - set(symbols), key=lambda piece: (-trained[piece], piece))
        self._build([(piece, trained[piece]) for piece in [*symbols, *others]])

    def _build(self, pieces: list[tuple[str, float]]) -> None:
        from tokenizers import Tokenizer, models

        self._pieces = pieces
        self._model = Tokenizer(models.Unigram(pieces))
        self._model.pre_tokenizer = segments()
        byte_of = bytes_of_symbols()
        self._types = [bytes(byte_of[sign] for sign in piece) for piece, _ in pieces]

    def encode(self, document: str) -> np.ndarray:
        return next(self.encode_all([document]))

    def encode_all(self, documents: Iterable[str]) -> Iterator[np.ndarray]:
        assert self._model is not None
        encode = self._model.encode_batch_fast
        return cutting.encode_all(documents, self.pieces, lambda texts: (one.ids for one in encode(texts)))

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        return cutting.pieces(chunks, cutting.BEFORE_WORD)

    def decode(self, ids: np.ndarray) -> str:
        types = [*self._types, b"\n"]
        return b"".join(types[id] for id in np.asarray(ids).tolist()).decode(errors="replace")

    def types(self) -> list[bytes]:
        return [*self._types, b""]

    def state(self) -> dict[str, Any]:
        return {"size": self._size, "pieces": self._pieces if self.fitted else None}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Unigram":
        tokenizer = cls(state["size"])
        if state["pieces"] is not None:
            tokenizer._build([(piece, score) for piece, score in state["pieces"]])
        return tokenizer


def _train(counts: Mapping[str, int], number: int, size: int) -> list[tuple[str, float]]:
    """Return the ``number`` types, and their log probabilities, of segments that occur so often.

    Raises:
        UserError: the library is missing, or the text does not support so many types.
    """
    try:
        from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
    except ImportError:
        raise UserError("tokenizer=unigram: needs the package sentencepiece (pip install 'lmlab[corpora]')") from None
    lines = (f"{segment}\t{count}" for segment, count in sorted(counts.items()))
    model = io.BytesIO()
    options: dict[str, Any] = {
        "input_format": "tsv",
        "model_type": "unigram",
        "vocab_size": number + 1,  # with the library's unknown type
        "seed_sentencepiece_size": _SEEDS * size,
        "character_coverage": 1.0,
        "num_threads": _THREADS,
        "normalization_rule_name": "identity",
        **dict.fromkeys(("bos_id", "eos_id"), -1),
        **dict.fromkeys(("add_dummy_prefix", "remove_extra_whitespaces", "split_by_whitespace"), False),
        **dict.fromkeys(("split_by_unicode_script", "split_by_number"), False),
        "minloglevel": 2,
    }
    try:
        in_background(
            lambda texts: SentencePieceTrainer.train(sentence_iterator=texts, model_writer=model, **options), lines
        )
    except RuntimeError as error:
        supported = re.search(r"value <= (\d+)", str(error))
        if supported is None:
            raise
        most = size + int(supported[1]) - (number + 1)
        raise UserError(f"tokenizer.size={size}: the training text supports no more than {most} types") from None
    trained = SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(1, trained.get_piece_size())
    # The shortest decimal number of the same 32 bits.
    return [(trained.id_to_piece(id), float(str(np.float32(trained.get_score(id))))) for id in ids]
