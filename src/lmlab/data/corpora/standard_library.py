"""The built-in corpus: the source code of the running interpreter's standard library."""

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lmlab.data.corpora.corpus import Corpus
from lmlab.data.corpora.splits import place_in, split_at
from lmlab.errors import UserError

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_HELD_OUT = 0.05  # share of the files in each of validation and test


class StandardLibrary(Corpus):
    """Every Python file of the standard library but its tests, about 11 MB; nothing is downloaded.

    A file's split follows from a hash of its path within the library, so it is the same for every version of Python.
    Files of equal content count once. Build settings (``config-*``, ``_sysconfigdata_*``), which describe the machine,
    and installed packages are left out.
    """

    name = "stdlib"
    licence = "PSF-2.0"

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        root = Path(sysconfig.get_path("stdlib"))
        self._documents: dict[str, list[str]] = {split: [] for split in self.splits}
        seen: set[bytes] = set()
        for path in _sources(root):
            content = path.read_bytes()
            digest = hashlib.sha256(content).digest()
            if not content or digest in seen:
                continue
            seen.add(digest)
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                continue  # the language allows other encodings; only tests of them use one
            self._documents[split_of(path.relative_to(root).as_posix())].append(text)
        for split, documents in self._documents.items():
            if not documents:
                raise UserError(f"data=stdlib: {root} holds too few .py files for a {split} split; choose data=text")

    def documents(self, split: str) -> Iterator[str]:
        yield from self._documents[split]


def split_of(path: str) -> str:
    """Return the split of the file at ``path``, relative to the library and with ``/`` between its parts."""
    return split_at(place_in(path), (_HELD_OUT, 2 * _HELD_OUT))


def _sources(root: Path) -> Iterator[Path]:
    """Yield the library's Python files, sorted by path."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in _LEFT_OUT and not name.startswith("config-"))
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("_sysconfigdata_"):
                yield Path(folder, name)
