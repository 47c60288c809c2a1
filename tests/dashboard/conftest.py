"""What the dashboard's tests share: an outputs folder of synthetic runs, and an application that asks itself."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra: pip install 'lmlab[report]'")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
from dashboards import HOSTILE, URL, WORDS, Growing, ask
from starlette.testclient import TestClient
from synthetic_runs import write_run

from lmlab.dashboard.app import build
from lmlab.dashboard.index import Index


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Three finished runs of two arms, and one that failed with an error that would like to be markup."""
    folder = tmp_path / "outputs"
    for seed in (1, 2):
        write_run(folder / "runs", "model=lstm", *WORDS, seed=seed)
    write_run(folder / "runs", "model=transformer", *WORDS, seed=1)
    attempt = {"started": "2026-01-01T00:00:00+00:00", "host": "h", "status": "failed", "error": HOSTILE}
    failed = write_run(folder / "runs", "model=gru", *WORDS, status="failed", attempts=[attempt], tags=[HOSTILE])
    failed.log.write_text(f"first\n\x1b[31m{HOSTILE}\x1b[0m\n")
    return folder


@pytest.fixture
def growing(outputs: Path) -> Iterator[Growing]:
    attempt = {"started": "2026-01-01T00:00:00+00:00", "host": os.uname().nodename}
    run = write_run(outputs / "runs", "model=rnn", *WORDS, status="running", attempts=[attempt])
    found = Growing(run)
    yield found
    found.end()


@pytest.fixture
def client(outputs: Path) -> Iterator[TestClient]:
    with TestClient(build(Index(outputs)), base_url=URL) as client:
        ask(client, lambda answer: answer["complete"])
        yield client


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve an outputs folder to a browser and return the address."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra: pip install 'lmlab[report]'")
    from lmlab.commands.dashboard import listen

    started = []

    def start(outputs: Path) -> str:
        listening = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(build(Index(outputs)), log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"

    yield start
    for server, thread in started:
        server.should_exit = True
        thread.join(10)
