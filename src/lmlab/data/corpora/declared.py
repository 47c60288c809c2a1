"""Corpora that are declared by address and checksum: found in a local folder, or downloaded once."""

import hashlib
import http.client
import os
import tempfile
import urllib.request
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmlab.data.corpora.corpus import Corpus
from lmlab.errors import UserError
from lmlab.progress import ProgressBar

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without an answer


@dataclass(frozen=True)
class RemoteFile:
    """A file identified by its checksum.

    Attributes:
        address: URL of its publication.
        sha256: the checksum of its content, in hexadecimal.
        path: its place below a folder of corpora.
    """

    address: str
    sha256: str
    path: str

    def find(self, corpora: Path | None, cache: Path, progress: bool, download: bool = True) -> Path:
        """Return the path of the verified file in ``corpora`` or ``cache/downloads``; download it if needed.

        Raises:
            UserError: ``corpora`` does not exist, the content does not match the checksum, or the download fails.
        """
        if corpora is not None:
            if not corpora.is_dir():
                raise UserError(f"paths.corpora={corpora}: there is no such folder (see also LMLAB_CORPORA)")
            if (corpora / self.path).is_file():
                return self._verified(corpora / self.path, "replace it")
        downloaded = cache / "downloads" / self.path
        if downloaded.is_file():
            return self._verified(downloaded, "delete it, and it will be downloaded again")
        if not download:
            looked_in = f"{downloaded.parent}" if corpora is None else f"{corpora} or {downloaded.parent}"
            raise UserError(f"{self.path} is not in {looked_in}; {self._by_hand()}")
        self._download(downloaded, progress)
        return downloaded

    def _verified(self, path: Path, remedy: str) -> Path:
        try:
            with path.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from error
        if checksum != self.sha256:
            raise UserError(f"{path} is corrupt: its SHA-256 is {checksum}, expected {self.sha256}; {remedy}")
        return path

    def _download(self, path: Path, progress: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                digest = hashlib.sha256()
                with urllib.request.urlopen(self.address, timeout=_TIMEOUT) as answer:
                    size = int(answer.headers.get("Content-Length") or 0) or None
                    with ProgressBar(f"Downloading {self.path}", size, progress) as bar:
                        while chunk := answer.read(_CHUNK):
                            file.write(chunk)
                            digest.update(chunk)
                            bar.advance(len(chunk))
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != self.sha256:
                raise UserError(
                    f"{self.address} is not the file that was expected: its SHA-256 is {digest.hexdigest()}, expected "
                    f"{self.sha256}; {self._by_hand()}"
                )
            temporary.replace(path)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(f"{self.address} could not be downloaded ({reason}); {self._by_hand()}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _by_hand(self) -> str:
        return f"get the file by other means and set LMLAB_CORPORA to a folder that holds it as {self.path}"


class DeclaredCorpus(Corpus):
    """A corpus whose every split is one document, made from declared files.

    Attributes:
        files: the files that it is made from.
    """

    files: tuple[RemoteFile, ...]

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        self._paths = [file.find(corpora, cache, progress, self.download) for file in self.files]

    def documents(self, split: str) -> Iterator[str]:
        yield self.text(split, self._paths)

    @abstractmethod
    def text(self, split: str, paths: list[Path]) -> str:
        """Return the text of a split, from the paths of :attr:`files`."""
