"""Files declared by address and checksum: found in a local folder, or downloaded once."""

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.errors import UserError
from lmlab.processes import signals
from lmlab.progress import ProgressBar
from lmlab.runs.files import flush

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without an answer
_PARTIAL = 206  # HTTP: the answer is the requested range
_NOT_SATISFIABLE = 416  # HTTP: the requested range begins after the end of the file


@dataclass(frozen=True)
class RemoteFile:
    """A file identified by its checksum.

    Attributes:
        address: URL of its publication.
        sha256: the checksum of its content, in hexadecimal.
        path: its place below a folder of corpora.
        mirrors: URLs of copies, which are used in turn if the others do not answer.
    """

    address: str
    sha256: str
    path: str
    mirrors: tuple[str, ...] = ()

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
        if not downloaded.is_file():
            if not download:
                looked_in = f"{downloaded.parent}" if corpora is None else f"{corpora} or {downloaded.parent}"
                raise UserError(f"{self.path} is not in {looked_in}; {self._by_hand()}")
            downloaded.parent.mkdir(parents=True, exist_ok=True)
            from filelock import FileLock

            with FileLock(downloaded.with_name(f".{downloaded.name}.lock")):
                if not downloaded.is_file():  # another process may have downloaded it in the meantime
                    self._download(downloaded, progress)
                    return downloaded
        return self._verified(downloaded, "delete it, and it will be downloaded again")

    def _verified(self, path: Path, remedy: str) -> Path:
        try:
            checksum = _checksum(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from error
        if checksum != self.sha256:
            raise UserError(f"{path} is corrupt: its SHA-256 is {checksum}, expected {self.sha256}; {remedy}")
        return path

    def _download(self, path: Path, progress: bool) -> None:
        """Download the file beside ``path``, continuing what is there from before, and move it into place."""
        part = path.with_name(f".{path.name}.part")
        continued = part.exists()
        try:
            address = self._fetch(part, progress)
            if continued and _checksum(part) != self.sha256:  # what was there may have been another file
                part.unlink()
                address = self._fetch(part, progress)
            if (checksum := _checksum(part)) != self.sha256:
                part.unlink()
                raise UserError(
                    f"{address} is not the file that was expected: its SHA-256 is {checksum}, expected "
                    f"{self.sha256}; {self._by_hand()}"
                )
            flush(part)
            part.replace(path)
            flush(path.parent, below=False)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UserError(f"{path} cannot be written ({error.strerror or error}); free some space there") from error

    def _fetch(self, part: Path, progress: bool) -> str:
        """Append what is missing to ``part`` from the first address that answers, and return the address."""
        reasons = []
        for address in (self.address, *self.mirrors):
            while True:
                before = _size(part)
                try:
                    self._receive(address, part, progress)
                    return address
                except _Broken as error:
                    if _size(part) <= before:
                        reasons.append(f"{address} could not be downloaded ({error})")
                        break
        continued = f"{_size(part) / 1e6:,.1f} MB are kept, from which the same command continues; or " * part.exists()
        raise UserError(f"{'; '.join(reasons)}; {continued}{self._by_hand()}")

    def _receive(self, address: str, part: Path, progress: bool) -> None:
        """Append the answer of a server to ``part``.

        Raises:
            _Broken: the connection failed.
            OSError: ``part`` cannot be written.
        """
        begin = _size(part)
        headers = {"User-Agent": "lmlab"} | ({"Range": f"bytes={begin}-"} if begin else {})
        with _as_broken():
            try:
                answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT)
            except urllib.error.HTTPError as error:
                if error.code != _NOT_SATISFIABLE or not begin:
                    raise
                if _total(error.headers) != begin:  # the file on the server is shorter
                    part.unlink()
                    self._receive(address, part, progress)
                return
        with answer:
            if getattr(answer, "status", None) != _PARTIAL:  # the server sends the whole file
                begin = 0
            total = _total(answer.headers) if begin else int(answer.headers.get("Content-Length") or 0) or None
            if total is not None and total - begin > (free := shutil.disk_usage(part.parent).free):
                raise UserError(
                    f"{address}: {(total - begin) / 1e6:,.1f} MB are missing, but {part.parent} has room for "
                    f"{free / 1e6:,.1f} MB; free some space there"
                )
            with (
                part.open("ab" if begin else "wb") as file,
                ProgressBar(f"Downloading {self.path}", total, progress) as bar,
            ):
                bar.advance(begin)
                while True:
                    with _as_broken():
                        chunk = answer.read(_CHUNK)
                    if not chunk:
                        break
                    file.write(chunk)
                    bar.advance(len(chunk))
                    signals.check()
        if total is not None and _size(part) < total:
            raise _Broken(f"the connection ended after {_size(part) / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    def _by_hand(self) -> str:
        return f"get the file by other means and set LMLAB_CORPORA to a folder that holds it as {self.path}"


class _Broken(Exception):
    """Failure of a connection; the message gives the reason."""


@contextmanager
def _as_broken() -> Iterator[None]:
    """Convert errors of the network to ``_Broken``."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise _Broken(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _total(headers: Any) -> int | None:
    """Return the size of the whole file from the header ``Content-Range``; ``None`` if it is not stated."""
    match = re.search(r"/(\d+)$", headers.get("Content-Range") or "")
    return int(match[1]) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
