"""Vocabularies that other programs wrote, in the library of each form: one class per form, recognised by the content.

A vocabulary encodes texts as they are: what spells a special token is text, and nothing is put before or after it.
"""

import base64
import binascii
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lmlab.data.tokenizers.byte_level import bytes_of_symbols
from lmlab.errors import UserError, first_line, nearest

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

_BYTES = 256
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # the sign for a space in types of SentencePiece
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""Usual names of the token that ends a document, for files that do not say which one it is."""


class Vocabulary(ABC):
    """A map between texts and ids.

    Attributes:
        form: its name in a saved tokenizer.
        size: number of ids: the greatest and one.
        end: the id that ends documents; ``None``: there is none.
        types: bytes that each id stands for, none for special ones and ids without a type; ``None``: the text of an id
            depends on those beside it.
        reversible: any text decodes to itself.
    """

    form: ClassVar[str]
    size: int
    end: int | None
    types: list[bytes] | None
    reversible: bool

    @abstractmethod
    def encode(self, texts: list[str]) -> Iterator[Sequence[int]]:
        """Yield the ids of each text."""

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """Return the text of ids; used if :attr:`types` are ``None``."""

    @abstractmethod
    def outside(self, text: str) -> list[str]:
        """Return the parts of a text that the ids do not represent, in order."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the arguments of the constructor as plain JSON values."""


class TokenizerJson(Vocabulary):
    """The format of the ``tokenizers`` library.

    Args:
        content: text of a ``tokenizer.json``.
        end: name of the token that ends documents; ``None``: one with a usual name.
    """

    form = "tokenizer.json"

    def __init__(self, content: str, end: str | None = None) -> None:
        from tokenizers import Tokenizer

        self._content, self._end = content, end
        self._model: tokenizers.Tokenizer = Tokenizer.from_str(content)
        self._model.encode_special_tokens = True
        parts = json.loads(content)
        ids = self._model.get_vocab(with_added_tokens=True)
        self.size = max(ids.values(), default=-1) + 1
        model = parts["model"]
        self._unknown = model.get("unk_id")
        if model.get("unk_token") is not None:
            self._unknown = ids.get(model["unk_token"])
        special = {token["id"] for token in parts["added_tokens"] if token["special"]}
        names = [end] if end is not None else [name for name in _ENDS if ids.get(name) in special]
        self.end = next((ids[name] for name in names if name in ids), None)
        self.types = _types(parts, ids, self.size, special - {self._unknown})
        self.reversible = self.types is not None and _is_reversible(parts, self.types)

    @classmethod
    def of(cls, content: str, end: str | None) -> "TokenizerJson":
        """Return the vocabulary of a file of any version, without what changes the tokens of a text."""
        from tokenizers import Tokenizer

        parts = json.loads(Tokenizer.from_str(content).to_str())
        parts["truncation"] = parts["padding"] = None
        if "dropout" in parts["model"]:
            parts["model"]["dropout"] = None  # it would draw the tokens at random
        return cls(json.dumps(parts, ensure_ascii=False, separators=(",", ":")), end)

    def encode(self, texts: list[str]) -> Iterator[Sequence[int]]:
        for encoding in self._model.encode_batch_fast(texts, add_special_tokens=False):
            yield encoding.ids if self.end not in encoding.ids else self._without_end(encoding.ids)

    def _without_end(self, ids: list[int]) -> list[int]:
        """Replace the end of a document, which a model of words or pieces may read in a text that spells it."""
        return [id if id != self.end else self._unknown for id in ids if id != self.end or self._unknown is not None]

    def decode(self, ids: list[int]) -> str:
        return self._model.decode(ids)

    def outside(self, text: str) -> list[str]:
        if self.reversible:
            return []
        encoding = self._model.encode(text, add_special_tokens=False)
        parts, end = [], 0
        for id, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            if first > end and (left_out := text[end:first].strip()):
                parts.append(left_out)
            if id in (self._unknown, self.end):
                parts.append(text[first:last])
            end = max(end, last)
        return [*parts, *filter(None, [text[end:].strip()])]

    def state(self) -> dict[str, Any]:
        return {"content": self._content, "end": self._end}


class SentencePieceModel(Vocabulary):
    """A model of the ``sentencepiece`` library.

    Args:
        content: the file in Base64.
        end: name of the token that ends documents; ``None``: the one in the file.
    """

    form = "SentencePiece"

    def __init__(self, content: str, end: str | None = None) -> None:
        library = _sentencepiece()
        self._content, self._end = content, end
        self._model = library.SentencePieceProcessor(model_proto=base64.b64decode(content))
        self.size = self._model.get_piece_size()
        id = self._model.eos_id() if end is None else self._model.piece_to_id(end)
        self.end = id if id >= 0 and (end is None or self._model.id_to_piece(id) == end) else None
        self.types = [self._bytes_of(id) for id in range(self.size)]
        self.reversible = False  # it normalises, and the sign for a space is read as one

    def _bytes_of(self, id: int) -> bytes:
        model = self._model
        if model.is_control(id) or model.is_unused(id):
            return b""
        if model.is_unknown(id):
            return model.decode([id]).encode()
        return _from_pieces(model.id_to_piece(id))

    def encode(self, texts: list[str]) -> Iterator[Sequence[int]]:
        for text in texts:
            text.encode()  # the library reads what is not UTF-8 as U+FFFD
        return iter(self._model.encode(texts, out_type=int))

    def decode(self, ids: list[int]) -> str:
        return cast(str, self._model.decode(ids))

    def outside(self, text: str) -> list[str]:
        pieces, ids = (self._model.encode(text, out_type=kind) for kind in (str, int))
        unknown = self._model.unk_id()
        return [piece for piece, id in zip(pieces, ids, strict=True) if id == unknown]

    def state(self) -> dict[str, Any]:
        return {"content": self._content, "end": self._end}


PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k_base": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|"
    r"\s*[\r\n]|\s+(?!\S)|\s",
    "o200k_base": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""Regular expressions of segments that a file of ranks does not contain, by the encoding that has them."""

_PUBLISHED = {
    50_256: ("gpt2", 50_256),
    50_280: ("gpt2", 50_256),
    100_256: ("cl100k_base", 100_257),
    199_998: ("o200k_base", 199_999),
}
"""Of the published files of ranks, by the number of their ranks: the segmentation, and the id of ``<|endoftext|>``."""

_ANYTHING = "|(?s:.)"
"""After a pattern: a character that it leaves out is a segment of its own."""


class Ranks(Vocabulary):
    """Byte-pair encoding by the ``tiktoken`` library.

    Args:
        content: text of a file of ranks: on each line a type in Base64 and its id.
        pattern: regular expression of segments.
        special: names and ids of special tokens.
        end: name of the token that ends documents; ``None``: one with a usual name.
    """

    form = "tiktoken"

    reversible = True

    def __init__(self, content: str, pattern: str, special: dict[str, int], end: str | None = None) -> None:
        library = _tiktoken()
        self._content, self._pattern, self._special, self._end = content, pattern, special, end
        ranks = _ranks_in(content)
        self._model: tiktoken.Encoding = library.Encoding(
            "ranks", pat_str=pattern + _ANYTHING, mergeable_ranks=ranks, special_tokens=special
        )
        self.size = max(*ranks.values(), *special.values(), -1) + 1
        self.end = next((special[name] for name in ([end] if end else _ENDS) if name in special), None)
        self.types = [b""] * self.size
        for token, id in ranks.items():
            self.types[id] = token

    def encode(self, texts: list[str]) -> Iterator[Sequence[int]]:
        for text in texts:
            text.encode()  # the library reads what is not UTF-8 as U+FFFD
            yield self._model.encode_ordinary(text)

    def decode(self, ids: list[int]) -> str:
        return self._model.decode(ids)

    def outside(self, text: str) -> list[str]:
        return []

    def state(self) -> dict[str, Any]:
        return {"content": self._content, "pattern": self._pattern, "special": self._special, "end": self._end}


FORMS: dict[str, type[Vocabulary]] = {form.form: form for form in (TokenizerJson, SentencePieceModel, Ranks)}


def read(path: Path, end: str | None, pattern: str | None) -> Vocabulary:
    """Return the vocabulary of a file or folder.

    Args:
        end: name of the token that ends documents; ``None``: the one that the vocabulary names.
        pattern: of a file of ranks, the regular expression of its segments or the encoding that has it.

    Raises:
        UserError: it cannot be read, or is of no known form, or the options do not fit it.
    """
    vocabulary = _read(path, end, pattern)
    if end is not None and vocabulary.end is None:
        raise UserError(f"tokenizer.end={end}: {path} has no such token (null: one is added)")
    if pattern is not None and not isinstance(vocabulary, Ranks):
        raise UserError(f"tokenizer.pattern={pattern}: only for a file of ranks, and {path} has its own segmentation")
    if vocabulary.size < 1:
        raise UserError(f"tokenizer.path={path}: the vocabulary is empty")
    return vocabulary


def _read(path: Path, end: str | None, pattern: str | None) -> Vocabulary:
    if path.is_dir():
        return _from_folder(path, end)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"tokenizer.path={path}: cannot be read ({error.strerror})") from error
    if content.lstrip()[:1] == b"{":
        return _from_json(content, path, end)
    with_ranks = re.match(rb"\s*[A-Za-z0-9+/]+=* \d+\s*(\n|$)", content)
    if with_ranks:
        return _from_ranks(content, path, end, pattern)
    library = _sentencepiece()
    model = library.SentencePieceProcessor()
    try:
        model.LoadFromSerializedProto(content)
        return SentencePieceModel(base64.b64encode(content).decode(), end)
    except (RuntimeError, ValueError):
        raise UserError(
            f"tokenizer.path={path}: is no vocabulary; expected a tokenizer.json, a SentencePiece model, a file of "
            "tiktoken's ranks, or a folder of a tokenizer of transformers"
        ) from None


def _from_json(content: bytes, path: Path, end: str | None) -> TokenizerJson:
    expected = "expected the tokenizer.json of the tokenizers library"
    try:
        parts = json.loads(content)
    except ValueError as error:
        raise UserError(f"tokenizer.path={path}: is no JSON ({error}); {expected}") from None
    if parts.get("class") in ("BPE", "Byte", "Character", "Pretrained", "Symbols", "TikToken", "Unigram", "Word"):
        raise UserError(f"tokenizer.path={path}: is a tokenizer of lmlab, of class {parts['class']}; {expected}")
    if "model" not in parts:
        beside = path.parent if (path.parent / "tokenizer_config.json").exists() else None
        instead = f", or the folder, {beside}," if beside else ""
        raise UserError(f"tokenizer.path={path}: has no model; {expected}{instead} that has one")
    try:
        return TokenizerJson.of(content.decode(), end)
    except UserError:
        raise
    except Exception as error:  # the library raises no class of its own
        raise UserError(f"tokenizer.path={path}: the tokenizers library cannot read it ({first_line(error)})") from None


def _from_ranks(content: bytes, path: Path, end: str | None, pattern: str | None) -> Ranks:
    try:
        text = content.decode()
        ranks = _ranks_in(text)
    except ValueError as error:
        raise UserError(f"tokenizer.path={path}: is no file of ranks ({error})") from None
    missing = sum(bytes([byte]) not in ranks for byte in range(_BYTES))
    if missing:
        raise UserError(f"tokenizer.path={path}: {missing} of the 256 bytes have no rank, so it cannot encode all text")
    published, end_id = _PUBLISHED.get(len(ranks), (None, None))
    name = pattern or published
    if name is None:
        raise UserError(
            f"tokenizer.pattern has no value: {path} has {len(ranks):,} ranks, and such a file does not contain the "
            "regular expression that divides text into segments; expected one, or the name of an encoding: "
            f"{', '.join(PATTERNS)}"
        )
    if name.isidentifier() and name not in PATTERNS:
        raise UserError(f"tokenizer.pattern={name}: unknown{nearest(name, PATTERNS)}; or a regular expression")
    special = {_ENDS[0]: end_id} if end_id is not None else {}
    try:
        vocabulary = Ranks(text, PATTERNS.get(name, name), special, end)
        next(vocabulary.encode(["a b"]))
    except ValueError as error:
        raise UserError(f"tokenizer.pattern={name}: is no regular expression ({first_line(error)})") from None
    return vocabulary


def _from_folder(path: Path, end: str | None) -> Vocabulary:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        own = path / "tokenizer.json"
        instead = f", or give {own}" if own.exists() else ""
        raise UserError(
            f"tokenizer.path={path}: needs the package transformers (pip install 'lmlab[hf]'){instead}"
        ) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of many classes
        models = [*path.glob("*.model"), *path.glob("*.tiktoken")]
        instead = f"; give a file in it, as {models[0]}" if models else ""
        raise UserError(
            f"tokenizer.path={path}: transformers finds no tokenizer in this folder ({first_line(error)}){instead}"
        ) from None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(
            f"tokenizer.path={path}: {type(tokenizer).__name__} is written in Python; expected one that the tokenizers "
            "library can represent"
        )
    named = end if end is not None else tokenizer.eos_token
    return TokenizerJson.of(backend.to_str(), named)


def of_encoding(name: str) -> Ranks:
    """Return an encoding of the ``tiktoken`` library, whose ranks are downloaded unless they are in its cache.

    Raises:
        UserError: the library is missing or has no such encoding, or the ranks cannot be had.
    """
    library = _tiktoken()
    if name not in (names := library.list_encoding_names()):
        raise UserError(f"tokenizer.name={name}: tiktoken has no such encoding{nearest(name, names)}")
    try:
        encoding = library.get_encoding(name)
    except Exception as error:  # of requests, and of files
        raise UserError(
            f"tokenizer.name={name}: its ranks could not be downloaded ({_cause(error)}); set TIKTOKEN_CACHE_DIR to a "
            "folder in which tiktoken has kept them, or give a file of ranks: tokenizer=pretrained tokenizer.path=..."
        ) from None
    ranks = encoding._mergeable_ranks
    lines = (
        f"{base64.b64encode(token).decode()} {id}\n" for token, id in sorted(ranks.items(), key=lambda one: one[1])
    )
    return Ranks("".join(lines), encoding._pat_str, dict(encoding._special_tokens))


def _ranks_in(content: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, id = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(id)
        except (ValueError, binascii.Error):
            raise ValueError(f"line {number}: expected a type in Base64 and its rank") from None
    return ranks


def _types(parts: dict[str, Any], ids: dict[str, int], size: int, special: set[int]) -> list[bytes] | None:
    """Return the bytes that each id of a ``tokenizer.json`` stands for; ``None``: its decoder does more than join."""
    kinds = {part["type"] for part in _flat(parts["decoder"], "decoders")}
    if kinds == {"ByteLevel"}:
        read = _from_symbols
    elif kinds and kinds <= {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"}:
        read = _from_pieces
    else:
        return None
    types = [b""] * size
    for token, id in ids.items():
        types[id] = b"" if id in special else read(token)
    for token in parts["added_tokens"]:
        types[token["id"]] = b"" if token["id"] in special else token["content"].encode()
    return types


def _is_reversible(parts: dict[str, Any], types: list[bytes]) -> bool:
    """Return whether a ``tokenizer.json`` divides the bytes of a text, which it leaves as they are."""
    before = _flat(parts["pre_tokenizer"], "pretokenizers")
    divides_only = all(
        (part["type"] == "ByteLevel" and not part["add_prefix_space"])
        or (part["type"] == "Split" and part["behavior"] != "Removed")
        or part["type"] in ("Digits", "FixedLength", "UnicodeScripts")
        for part in before
    )
    return (
        parts["normalizer"] is None
        and parts["model"]["type"] == "BPE"
        and divides_only
        and any(part["type"] == "ByteLevel" for part in before)
        and not any(token["lstrip"] or token["rstrip"] for token in parts["added_tokens"])
        and {bytes([byte]) for byte in range(_BYTES)} <= set(types)
    )


def _from_symbols(token: str) -> bytes:
    byte_of = bytes_of_symbols()
    return bytes(byte_of[sign] for sign in token) if all(sign in byte_of for sign in token) else token.encode()


def _from_pieces(token: str) -> bytes:
    if byte := re.fullmatch(r"<0x([0-9A-F]{2})>", token):
        return bytes([int(byte[1], 16)])
    return token.replace(_SPACE, " ").encode()


def _flat(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """Return the parts of a sequence of pre-tokenizers or decoders, or the only one."""
    if part is None:
        return []
    return [leaf for one in part[inner] for leaf in _flat(one, inner)] if part["type"] == "Sequence" else [part]


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise UserError(
            "tokenizer: a SentencePiece model needs the package sentencepiece (pip install 'lmlab[corpora]')"
        ) from None
    return sentencepiece


def _tiktoken() -> Any:
    try:
        import tiktoken
    except ImportError:
        raise UserError("tokenizer: ranks need the package tiktoken (pip install 'lmlab[corpora]')") from None
    return tiktoken


def _cause(error: BaseException) -> str:
    """Return the innermost reason of an error of a network, in one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return first_line(error)
