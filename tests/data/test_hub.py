"""Reading a data set through the real libraries from a server that answers as the hub does."""

import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
from itertools import chain

import pytest

pytestmark = pytest.mark.slow

COMMIT = "ab" * 20
CARD = "---\nconfigs:\n- config_name: en\n  data_files:\n  - {split: train, path: data/train-*}\n---\n"
READING = """
import json, sys
from pathlib import Path
from lmlab.data.corpora import HuggingFace
from lmlab.errors import UserError
for options in json.loads(sys.argv[1]):
    try:
        corpus = HuggingFace(**options)
        corpus.find(None, Path(sys.argv[2]))
        texts = {split: list(corpus.documents(split)) for split in corpus.splits}
        print(json.dumps([texts, corpus.provenance()["revision"]]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """The requests of the hub that the libraries make, for one data set, ``me/tales``, at one commit."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes] = {}

    def answer(self, code: int, content: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content if self.command != "HEAD" else b"")

    def do_GET(self):
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/datasets/me/tales(?:/revision/(.+))?", path):
            if match[1] not in (None, "main", COMMIT):
                return self.answer(404, X_Error_Code="RevisionNotFound")
            info = {
                "id": "me/tales",
                "sha": COMMIT,
                "tags": [],
                "siblings": [{"rfilename": name} for name in self.files],
            }
            return self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        if path.startswith(f"/api/datasets/me/tales/tree/{COMMIT}"):
            below = path.partition(COMMIT)[2].strip("/")
            entries = [
                {"type": "file", "oid": "1" * 40, "size": len(content), "path": name}
                for name, content in self.files.items()
                if name.rpartition("/")[0] == below
            ]
            entries += [] if below else [{"type": "directory", "oid": "2" * 40, "size": 0, "path": "data"}]
            return self.answer(200, json.dumps(entries).encode(), Content_Type="application/json")
        if match := re.fullmatch(rf"/datasets/me/tales/resolve/(?:main|{COMMIT})/(.+)", path):
            return self.file(match[1])
        return self.answer(404, X_Error_Code="RepoNotFound")

    def file(self, name: str) -> None:
        if name not in self.files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        content = self.files[name]
        headers = {"ETag": f'"{name.encode().hex()}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        if bounds := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(bounds[1]), min(int(bounds[2] or len(content)), len(content) - 1)
            place = f"bytes {first}-{last}/{len(content)}"
            return self.answer(206, content[first : last + 1], Content_Range=place, **headers)
        return self.answer(200, content, len(content), **headers)

    do_HEAD = do_POST = do_GET

    def log_message(self, *arguments):
        pass


def test_reads_a_data_set_of_the_hub(tmp_path):
    import pyarrow
    from pyarrow import parquet

    texts = [f"document {number} of the hub" for number in range(300)]
    content = io.BytesIO()
    parquet.write_table(pyarrow.table({"id": range(300), "text": texts}), content, row_group_size=50)
    Hub.files = {"README.md": CARD.encode(), "data/train-00000.parquet": content.getvalue()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def read(*options: dict, **environment: str) -> list:
        variables = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
        (tmp_path / "cache").mkdir(exist_ok=True)
        command = [sys.executable, "-c", READING, json.dumps(options), str(tmp_path / "cache")]
        done = subprocess.run(
            command, env=os.environ | variables | environment, capture_output=True, text=True, check=True, timeout=300
        )
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]

    try:
        whole, beginning, part, subset, revision, other = read(
            {"dataset": "me/tales"},
            {"dataset": "me/tales", "limit": 60, "validation": 0.2},
            {"dataset": "me/tales", "train": "train[:50]", "validation": "train[50:60]"},
            {"dataset": "me/tales", "subset": "de"},
            {"dataset": "me/tales", "revision": "v2"},
            {"dataset": "me/other"},
        )
    finally:
        server.shutdown()
        server.server_close()
    for (read_texts, commit), expected in ((whole, texts), (beginning, texts[:60]), (part, texts[:60])):
        assert sorted(chain.from_iterable(read_texts.values())) == sorted(expected) and commit == COMMIT
    assert part[0] == {"train": texts[:50], "validation": texts[50:60]}
    assert "data.subset=de: data.dataset=me/tales has no such subset (did you mean 'en'?)" in subset
    assert "data.revision=v2: data.dataset=me/tales has no such revision" in revision
    assert "data.dataset=me/other: the hub has no such data set, or it needs a login" in other

    pinned = {"dataset": "me/tales", "revision": COMMIT}
    assert read(pinned, HF_HUB_OFFLINE="1") == [whole]  # what was read needs no network
    (unknown,) = read({"dataset": "me/other", "revision": COMMIT}, HF_HUB_OFFLINE="1")
    assert "data.dataset=me/other: the hub cannot be reached" in unknown
