"""Corpora that are declared by address and checksum, with a rule for their splits and the counts published for them."""

import codecs
import hashlib
import inspect
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lmlab.data.corpora.corpus import Corpus
from lmlab.data.corpora.inspector import Inspector
from lmlab.data.corpora.remote_file import RemoteFile
from lmlab.errors import UserError

_CHUNK = 1 << 20
_LATER_BYTES = bytes(range(0x80, 0xC0))  # of a character in UTF-8, after its first one


@dataclass(frozen=True)
class Part:
    """The bytes of a file that make up a split.

    Attributes:
        file: the declared file.
        member: the path of a file in a zip archive; ``None``: the declared file itself.
        first: the first byte. A character belongs to the part in which it begins.
        end: the byte after the last one; ``None``: the end of the file.
    """

    file: RemoteFile
    member: str | None = None
    first: int = 0
    end: int | None = None

    def read(self, path: Path) -> Iterator[str]:
        """Yield the text in chunks, line ends as they are.

        Args:
            path: the place of the declared file.

        Raises:
            UserError: it is not UTF-8.
        """
        if self.member is None:
            with path.open("rb") as file:
                yield from self._decoded(file, path)
        else:
            with zipfile.ZipFile(path) as archive, archive.open(self.member) as file:
                yield from self._decoded(file, path / self.member)

    def _decoded(self, file: IO[bytes], path: Path) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        left = (math.inf if self.end is None else self.end) - file.seek(self.first)
        begins = self.first > 0
        try:
            while left and (content := file.read(int(min(_CHUNK, left)))):
                left -= len(content)
                if begins:  # bytes of a character that began in the part before
                    content = content.lstrip(_LATER_BYTES)
                    begins = not content
                if text := decoder.decode(content):
                    yield text
            rest = file.read(3) if decoder.getstate()[0] else b""  # the last character ends in the next part
            yield decoder.decode(rest[: len(rest) - len(rest.lstrip(_LATER_BYTES))], final=True)
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 ({error.reason}, byte 0x{error.object[error.start]:02x})") from error


class DeclaredCorpus(Corpus):
    """A corpus made from declared files. Each split is one document, unless a subclass overrides :meth:`chunks`.

    Attributes:
        files: the files that it is made from.
        parts: the part of a file that each split consists of.
    """

    files: tuple[RemoteFile, ...]
    parts: Mapping[str, Part]

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        self._paths = {file: file.find(corpora, cache, progress, self.download) for file in self.files}
        self._cache = cache

    def chunks(self, split: str) -> Iterator[Iterator[str]]:
        yield self.parts[split].read(self._paths[self.parts[split].file])

    def documents(self, split: str) -> Iterator[str]:
        return ("".join(chunks) for chunks in self.chunks(split))

    def fingerprint(self) -> str:
        code = Path(inspect.getfile(type(self))).read_text(encoding="utf-8")
        inputs = [type(self).__name__, code, Path(__file__).read_text(encoding="utf-8"), *map(repr, self.files)]
        key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()
        return Inspector(self._cache).remember(key, super().fingerprint)

    def provenance(self) -> dict[str, Any]:
        return {"files": [{"address": file.address, "sha256": file.sha256} for file in self.files]}
