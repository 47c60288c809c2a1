"""Files that are found or downloaded: quick tests with servers that are functions, a slow one with a real server."""

import hashlib
import http.client
import http.server
import io
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import pytest

from lmlab.data.corpora import RemoteFile, remote_file
from lmlab.errors import Interrupted, UserError

TEXT = "To be, or not to be,\nthat is the question.\n"
CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def remote(folder: Path, text: str = TEXT, sha256: str | None = None) -> RemoteFile:
    """A declared file that is published at a file:// address."""
    published = folder / "published.txt"
    published.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return RemoteFile(published.as_uri(), sha256 or digest, "plays/hamlet.txt")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


class TestRemoteFile:
    def test_is_downloaded_once_and_then_found(self, tmp_path):
        file = remote(tmp_path)
        path = file.find(None, tmp_path / "cache", progress=False)
        assert path.read_text() == TEXT
        (tmp_path / "published.txt").unlink()
        assert file.find(None, tmp_path / "cache", progress=False) == path

    def test_prefers_the_users_folder(self, tmp_path):
        file = remote(tmp_path)
        own = tmp_path / "corpora" / "plays" / "hamlet.txt"
        own.parent.mkdir(parents=True)
        own.write_text(TEXT)
        assert file.find(tmp_path / "corpora", tmp_path / "cache", progress=False) == own
        assert not (tmp_path / "cache").exists()

    def test_corrupt_local_file_is_named_with_both_checksums(self, tmp_path):
        file = remote(tmp_path)
        own = tmp_path / "corpora" / "plays" / "hamlet.txt"
        own.parent.mkdir(parents=True)
        own.write_text(TEXT[:-1])
        with pytest.raises(UserError) as error:
            file.find(tmp_path / "corpora", tmp_path / "cache", progress=False)
        for part in (str(own), file.sha256, hashlib.sha256(TEXT[:-1].encode()).hexdigest(), "corrupt"):
            assert part in str(error.value)

    def test_wrong_download_leaves_nothing(self, tmp_path):
        file = remote(tmp_path, sha256="0" * 64)
        with pytest.raises(UserError, match=r"not the file that was expected.*LMLAB_CORPORA.*plays/hamlet\.txt"):
            file.find(None, tmp_path / "cache", progress=False)
        assert files_in(tmp_path / "cache") == []

    def test_is_not_downloaded_on_request(self, tmp_path):
        with pytest.raises(UserError, match=r"plays/hamlet\.txt is not in .*LMLAB_CORPORA"):
            remote(tmp_path).find(None, tmp_path / "cache", progress=False, download=False)
        assert not (tmp_path / "cache").exists()

    def test_offline_says_what_to_do(self, tmp_path):
        file = remote(tmp_path)
        (tmp_path / "published.txt").unlink()
        with pytest.raises(UserError, match=r"could not be downloaded.*LMLAB_CORPORA.*plays/hamlet\.txt"):
            file.find(None, tmp_path / "cache", progress=False)
        assert files_in(tmp_path / "cache") == []

    def test_missing_corpora_folder_is_an_error(self, tmp_path):
        with pytest.raises(UserError, match=r"paths\.corpora=.*no such folder"):
            remote(tmp_path).find(tmp_path / "corpra", tmp_path / "cache", progress=False)


class Answer(io.BytesIO):
    """An answer of a server whose connection may fail after some bytes.

    Args:
        fails_after: the number of bytes that arrive; then the connection ends, or ``error`` is raised.
    """

    def __init__(self, content: bytes, status: int, headers: dict[str, str], fails_after=None, error=None) -> None:
        super().__init__(content[:fails_after])
        self.status, self.error = status, error
        self.headers = Message()
        for name, value in headers.items():
            self.headers[name] = value

    def read(self, size=-1):
        if not (chunk := super().read(min(size, 1000))) and self.error is not None:
            raise self.error
        return chunk


class Server:
    """Servers in place of the network; ``requests`` are the addresses and first bytes that were requested."""

    def __init__(self, content: bytes = CONTENT, ranges: bool = True) -> None:
        self.content, self.ranges = content, ranges
        self.failures: list[dict] = []
        self.requests: list[tuple[str, int]] = []
        self.dead: set[str] = set()

    def open(self, request: urllib.request.Request, timeout: float) -> Answer:
        first = int(re.findall(r"\d+", request.get_header("Range") or "bytes=0-")[0])
        self.requests.append((request.full_url, first))
        if request.full_url in self.dead:
            raise urllib.error.URLError(OSError(-2, "Name or service not known"))
        failure = self.failures.pop(0) if self.failures else {}
        size = len(self.content)
        if not self.ranges or not first:
            return Answer(self.content, 200, {"Content-Length": str(size)}, **failure)
        if first >= size:
            headers = Message()
            headers["Content-Range"] = f"bytes */{size}"
            raise urllib.error.HTTPError(request.full_url, 416, "Range Not Satisfiable", headers, None)
        part = {"Content-Range": f"bytes {first}-{size - 1}/{size}", "Content-Length": str(size - first)}
        return Answer(self.content[first:], 206, part, **failure)


@pytest.fixture
def server(monkeypatch) -> Server:
    server = Server()
    monkeypatch.setattr(urllib.request, "urlopen", server.open)
    return server


class TestDownload:
    FILE = RemoteFile("http://one/a.bin", SHA256, "a/a.bin", mirrors=("http://two/a.bin",))

    def find(self, tmp_path):
        return self.FILE.find(None, tmp_path, progress=False)

    def part(self, tmp_path, content):
        path = tmp_path / "downloads" / "a" / ".a.bin.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    @pytest.mark.parametrize(
        "error",
        [None, ConnectionResetError(104, "Connection reset by peer"), http.client.IncompleteRead(b""), TimeoutError()],
    )
    def test_goes_on_where_the_connection_failed(self, tmp_path, server, error):
        server.failures = [{"fails_after": 3000, "error": error}, {"fails_after": 2000, "error": error}]
        assert self.find(tmp_path).read_bytes() == CONTENT
        assert server.requests == [("http://one/a.bin", first) for first in (0, 3000, 5000)]
        assert files_in(tmp_path) == [tmp_path / "downloads" / "a" / "a.bin"]

    def test_keeps_what_has_arrived_for_the_next_command(self, tmp_path, server):
        server.failures = [{"fails_after": 4000}, {"fails_after": 0}]
        server.dead = {"http://two/a.bin"}
        with pytest.raises(UserError, match=r"one/a\.bin could not be .*ended after 0\.0 of 0\.0 MB.*two/a\.bin.*kept"):
            self.find(tmp_path)
        assert not (tmp_path / "downloads" / "a" / "a.bin").exists()
        server.requests.clear()
        assert self.find(tmp_path).read_bytes() == CONTENT
        assert server.requests == [("http://one/a.bin", 4000)]

    def test_stops_between_chunks_and_goes_on(self, tmp_path, server, monkeypatch):
        def interrupt():
            raise Interrupted("told to stop")

        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(remote_file.signals, "check", interrupt)
            self.find(tmp_path)
        assert self.find(tmp_path).read_bytes() == CONTENT
        assert server.requests[1] == ("http://one/a.bin", 1000)

    def test_begins_anew_where_the_server_sends_no_ranges(self, tmp_path, server):
        server.ranges = False
        self.part(tmp_path, b"x" * 100)
        assert self.find(tmp_path).read_bytes() == CONTENT

    @pytest.mark.parametrize("before", [b"x" * 100, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
    def test_begins_anew_where_the_beginning_was_of_another_file(self, tmp_path, server, before):
        self.part(tmp_path, before)
        assert self.find(tmp_path).read_bytes() == CONTENT

    def test_a_whole_part_is_only_moved(self, tmp_path, server):
        self.part(tmp_path, CONTENT)
        assert self.find(tmp_path).read_bytes() == CONTENT
        assert server.requests == [("http://one/a.bin", len(CONTENT))]

    def test_another_file_at_the_address_is_refused_once(self, tmp_path, server):
        server.content = CONTENT[:-1] + b"?"
        with pytest.raises(UserError, match=r"http://one/a\.bin is not the file that was expected"):
            self.find(tmp_path)
        assert files_in(tmp_path) == [] and len(server.requests) == 1

    def test_uses_a_mirror_where_the_address_does_not_answer(self, tmp_path, server):
        server.dead = {"http://one/a.bin"}
        assert self.find(tmp_path).read_bytes() == CONTENT

    def test_names_every_address_that_failed(self, tmp_path, server):
        server.dead = {"http://one/a.bin", "http://two/a.bin"}
        with pytest.raises(UserError, match=r"one/a\.bin could not .*Name.*two/a\.bin could not.*as a/a\.bin"):
            self.find(tmp_path)
        assert files_in(tmp_path) == []

    def test_refuses_to_begin_where_the_disk_is_too_small(self, tmp_path, server, monkeypatch):
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=len(CONTENT) - 1))
        with pytest.raises(UserError, match=r"0\.0 MB are missing, but .*downloads/a has room for"):
            self.find(tmp_path)
        assert files_in(tmp_path) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
    def test_full_disk_leaves_nothing(self, tmp_path, server, monkeypatch):
        opened = Path.open

        def full(path, *arguments, **options):
            return opened(Path("/dev/full") if path.suffix == ".part" else path, *arguments, **options)

        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(UserError, match=r"a\.bin cannot be written \(No space left on device\); free some space"):
            self.find(tmp_path)
        assert files_in(tmp_path) == []


@pytest.mark.slow
def test_a_real_server_that_drops_connections(tmp_path):
    content = os.urandom(3_000_000)
    firsts = []

    class Dropping(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            first = int(re.findall(r"\d+", self.headers.get("Range") or "0")[0])
            firsts.append(first)
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            self.wfile.write(content[first : first + 1_100_000])
            self.close_connection = True

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dropping)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/a.bin"
        file = RemoteFile(address, hashlib.sha256(content).hexdigest(), "a.bin")
        assert file.find(None, tmp_path, progress=False).read_bytes() == content
    finally:
        server.shutdown()
        server.server_close()
    assert firsts == [0, 1_100_000, 2_200_000]
