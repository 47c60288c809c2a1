"""Byte-level byte-pair encoding, trained by the ``tokenizers`` library."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lmlab.data.tokenizers import cutting
from lmlab.data.tokenizers.byte_level import BYTES, LONGEST_SEGMENT, ByteLevel, bytes_of_symbols, segments
from lmlab.data.tokenizers.threads import available_cores
from lmlab.data.tokenizers.vocabularies import PATTERNS
from lmlab.errors import UserError
from lmlab.processes.signals import in_background

if TYPE_CHECKING:
    import tiktoken
    import tokenizers


class BPE(ByteLevel):
    """Byte-pair encoding (Sennrich et al. 2016) of UTF-8 bytes, with GPT-2's segmentation into words.

    Types are the 256 bytes, then merges in the order in which they were found (see :class:`ByteLevel`).
    """

    saved = "merges"

    def fit(self, documents: Iterable[str]) -> None:
        from tokenizers import trainers

        trainer = trainers.BpeTrainer(
            vocab_size=self._size - 1, initial_alphabet=list(bytes_of_symbols()), show_progress=False
        )
        model = self.model([])
        texts = (piece for document in documents for piece in self.pieces([document]))
        in_background(lambda texts: model.train_from_iterator(texts, trainer), texts)
        supported = model.get_vocab_size() + 1
        if supported < self._size:
            raise UserError(f"tokenizer.size={self._size}: the training text supports no more than {supported} types")
        self._build(json.loads(model.to_str())["model"]["merges"])

    def model(self, parts: list[Any]) -> "tokenizers.Tokenizer":
        """Return the library's model of merges, whose ids follow from their order."""
        from tokenizers import Tokenizer, models

        vocabulary: dict[str, int] = {}
        for symbol in [*sorted(bytes_of_symbols()), *(left + right for left, right in parts)]:
            vocabulary.setdefault(symbol, len(vocabulary))
        model = Tokenizer(models.BPE(vocab=vocabulary, merges=[(left, right) for left, right in parts]))
        model.pre_tokenizer = segments()
        return model

    def encode_all(self, documents: Iterable[str]) -> Iterator[np.ndarray]:
        assert self._model is not None and self._parts is not None
        if (fast := as_tiktoken(self._model, len(self._parts))) is None:
            return super().encode_all(documents)
        encode = partial(self._ids_where_possible, fast)  # which uses one core
        return cutting.encode_all(documents, self.pieces, encode, available_cores())

    def _ids_where_possible(self, fast: "tiktoken.Encoding", texts: list[str]) -> Iterator[Sequence[int] | np.ndarray]:
        """Yield the ids of texts: those of tiktoken, which is faster, for those without long segments."""
        short = [has_short_segments(text) for text in texts]
        rest = [text for text, is_short in zip(texts, short, strict=True) if not is_short]
        ids = self._ids(rest) if rest else iter(())
        for text, is_short in zip(texts, short, strict=True):
            yield fast.encode_to_numpy(text, disallowed_special=()) if is_short else next(ids)


def as_tiktoken(model: "tokenizers.Tokenizer", merges: int) -> "tiktoken.Encoding | None":
    """Return the same encoding in the tiktoken library; ``None``: it is not installed, or cannot represent it.

    It merges any two parts that together are a type, in the order of ids. The result is the same for merges that were
    found in a text, unless two of them make the same type.

    Args:
        merges: number of merges of ``model``.
    """
    try:
        import tiktoken
    except ImportError:
        return None
    byte_of = bytes_of_symbols()
    ranks = {bytes(byte_of[sign] for sign in symbol): id for symbol, id in model.get_vocab().items()}
    if len(ranks) != BYTES + merges:
        return None
    return tiktoken.Encoding("merges", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})


_BLOCK = LONGEST_SEGMENT // 2
_IS_SPACE = np.isin(np.arange(BYTES), [ord(" "), ord("\n")])
_IS_VISIBLE = np.isin(np.arange(BYTES), np.arange(ord("!"), ord("~") + 1))


def has_short_segments(text: str) -> bool:
    """Return whether each 256 bytes, from a multiple of 256, hold a space or line end and a visible ASCII character.

    Then no segment has more than 512 bytes: apart from a leading space, it is of one kind, so it would fill a block.
    """
    content = np.frombuffer(text.encode(), np.uint8)
    blocks = content[: len(content) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    return bool(_IS_SPACE[blocks].any(1).all() and _IS_VISIBLE[blocks].any(1).all())
