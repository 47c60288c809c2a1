"""A unigram language model of bytes, trained by the ``sentencepiece`` library."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lmlab.data.tokenizers.byte_level import ByteLevel, bytes_of_symbols, segments
from lmlab.errors import UserError
from lmlab.processes.signals import in_background

if TYPE_CHECKING:
    import tokenizers

_THREADS = 4  # a constant: sums, which the threads share, are rounded differently by another number of them
_SEEDS = 10  # candidates to begin with, for each type that is kept
_UNSEEN = 10.0  # by which the log probability of a byte that the training text lacks is below the lowest of the others


class Unigram(ByteLevel):
    """A unigram language model of UTF-8 bytes (Kudo 2018), with GPT-2's segmentation into words.

    Among all divisions of a segment into types, the most probable one is taken. Types are the 256 bytes, then others by
    falling probability (see :class:`ByteLevel`).
    """

    saved = "pieces"

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

    def model(self, parts: list[Any]) -> "tokenizers.Tokenizer":
        """Return the library's model of types with their log probabilities."""
        from tokenizers import Tokenizer, models

        model = Tokenizer(models.Unigram([(piece, score) for piece, score in parts]))
        model.pre_tokenizer = segments()
        return model


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
