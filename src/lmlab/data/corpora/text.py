"""Any local text files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lmlab.data.corpora.corpus import SPLITS, Corpus, read_utf8
from lmlab.errors import UserError, nearest

_FILES_TO_SPLIT_BY = 20
_LOOKED_AT = 8192  # bytes in which a NUL marks a file as binary: the rule of git and grep


class Text(Corpus):
    """UTF-8 text from files and folders that the user names; every file is a document.

    Folders are searched recursively; hidden, empty and binary files (a NUL byte in the first 8 KiB) are passed over.
    Files of equal content count once. With 20 files or more, whole files are held out: those whose content hashes
    lowest. With fewer, every file is cut in three at line ends: the beginning trains, the end is held out.

    Args:
        paths: a file or folder, or a list of them; ``~`` is expanded.
        validation: share of the files, or of each file, for the validation split.
        test: the same for the test split; 0 for none.

    Raises:
        UserError: the shares are not positive (validation) or not below 1 together.
    """

    name = "text"
    licence = "the user's own"

    def __init__(self, paths: list[str] | str, validation: float = 0.05, test: float = 0.05) -> None:
        if not 0 < validation < 1:
            raise UserError(f"data.validation={validation}: expected a share above 0 and below 1")
        if not 0 <= test < 1 - validation:
            raise UserError(f"data.test={test}: expected a share of at least 0 that leaves some text for training")
        self.paths = [paths] if isinstance(paths, str) else paths
        self.validation = validation
        self.test = test
        self.splits = SPLITS if test else SPLITS[:2]

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        by_content: dict[bytes, Path] = {}
        for path in self._files():
            content = read_utf8(path, "data.paths").encode()
            by_content.setdefault(hashlib.sha256(content).digest(), path)
        if len(by_content) >= _FILES_TO_SPLIT_BY:
            by_hash = [by_content[digest] for digest in sorted(by_content)]
            validation = max(1, round(self.validation * len(by_hash)))
            test = max(1, round(self.test * len(by_hash))) if self.test else 0
            held_out = dict.fromkeys(by_hash[:validation], "validation")
            held_out |= dict.fromkeys(by_hash[validation : validation + test], "test")
            self._pieces = [(path, held_out.get(path, "train")) for path in by_content.values()]
        else:
            self._pieces = [(path, split) for path in by_content.values() for split in self.splits]
        self._cut = len(by_content) < _FILES_TO_SPLIT_BY
        for split in self.splits:
            if next(self.documents(split), None) is None:
                raise UserError(f"data.paths={self.paths}: too little text to have a {split} split")

    def documents(self, split: str) -> Iterator[str]:
        for path, of_split in self._pieces:
            if of_split == split:
                text = read_utf8(path, "data.paths")
                document = self._part(text, split) if self._cut else text
                if document:
                    yield document

    def _part(self, text: str, split: str) -> str:
        first = _line_end(text, round(len(text) * (1 - self.validation - self.test)))
        second = _line_end(text, round(len(text) * (1 - self.test)))
        return {"train": text[:first], "validation": text[first:second], "test": text[second:]}[split]

    def _files(self) -> Iterator[Path]:
        """Yield the files, those of a folder sorted by path."""
        if not self.paths:
            raise UserError("data.paths=[]: expected at least one file or folder")
        for given in self.paths:
            path = Path(given).expanduser()
            if path.is_dir():
                found = [file for file in sorted(path.rglob("*")) if _is_text(file, path)]
                if not found:
                    raise UserError(f"data.paths: {path} holds no text file")
                yield from found
            elif not path.is_file():
                raise UserError(f"data.paths: there is no {path}{_nearest_name(path)}")
            elif path.stat().st_size == 0:
                raise UserError(f"data.paths: {path} is empty")
            else:
                yield path


def _is_text(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    if hidden or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            beginning = file.read(_LOOKED_AT)
    except OSError as error:
        raise UserError(f"data.paths: {path} cannot be read ({error.strerror})") from error
    return bool(beginning) and b"\0" not in beginning


def _line_end(text: str, index: int) -> int:
    """Return the index after the line that ``index`` lies in, or ``index`` where the rest is one line."""
    if index == 0 or text[index - 1] == "\n":
        return index
    end = text.find("\n", index) + 1
    return end if 0 < end < len(text) else index


def _nearest_name(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    hint = nearest(path.name, (sibling.name for sibling in path.parent.iterdir()))
    return hint if "did you mean" in hint else ""
