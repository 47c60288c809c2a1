import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

from lmlab.runs.files import read_jsonl, write_text, write_whole
from lmlab.runs.run import Run

CONFIG = {"name": "lstm-text", "seed": 1, "tags": [], "paths": {}, "model": {"width": 1}}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_last_line_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("file", ["config.yaml", "git.diff", "run.json"])
def test_of_a_creation_that_fails_nothing_stays(tmp_path, monkeypatch, file, failure):
    run = Run(tmp_path / "runs" / "run")

    def write(path, text):
        write_text(path, text)
        if path.name == file:
            raise failure

    monkeypatch.setattr("lmlab.runs.run.write_text", write)
    monkeypatch.setattr("lmlab.runs.run.write_json", lambda path, value: write(path, json.dumps(value)))
    with run.lock(lambda owner: None), pytest.raises(type(failure)):
        run.create(CONFIG, "abc", "a difference")
    assert list(run.path.parent.iterdir()) == []
    monkeypatch.undo()
    with run.lock(lambda owner: None):
        run.create(CONFIG, "abc", "a difference")
    assert run.exists and (run.path / "git.diff").read_text() == "a difference"


def test_a_creation_that_fails_takes_nothing_of_a_user_with_it(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    (run.path / "notes.txt").write_text("mine")
    monkeypatch.setattr("lmlab.runs.run.write_json", lambda path, value: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.create(CONFIG, "abc")
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]


def test_running_without_a_living_process_is_interrupted(tmp_path):
    run = Run(tmp_path / "run")
    run.create(CONFIG, "abc")
    run.update(status="running")
    assert run.status == "interrupted"
    with run.lock(lambda owner: None):
        assert run.status == "running"
    assert run.status == "interrupted"


@pytest.mark.slow
def test_the_lock_outlives_the_process_that_took_it_in_its_child(tmp_path):
    """A parent that is killed must not free the lock while its child still trains."""
    run = Run(tmp_path / "run")
    run.create(CONFIG, "abc")
    code = textwrap.dedent(f"""
        import os, subprocess, sys
        from pathlib import Path
        from lmlab.runs.run import Run
        with Run(Path({str(run.path)!r})).lock(lambda owner: None) as lock:
            child = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[lock.fileno()], stdin=subprocess.PIPE)
            print(child.pid, flush=True)
            os.kill(os.getpid(), 9)
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.wait()
    # The child reads from a pipe whose writer is gone, so it ends by itself; until then the run counts as running.
    deadline = time.monotonic() + 60
    while run.is_locked():
        assert time.monotonic() < deadline, f"process {child} still holds the lock"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_second_to_ask_waits_for_the_first(tmp_path):
    run = Run(tmp_path / "run")
    code = f"""
from pathlib import Path
from lmlab.runs.run import Run
with Run(Path({str(run.path)!r})).lock(lambda owner: print("waiting", owner, flush=True)):
    print("mine", flush=True)
"""
    with run.lock(lambda owner: None):
        second = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert second.stdout.readline().startswith(f"waiting pid {os.getpid()} on ")
    assert second.communicate(timeout=100)[0] == "mine\n"


def test_the_manifest_is_valid_json_at_every_moment(tmp_path):
    run = Run(tmp_path / "run")
    run.create(CONFIG, "abc")
    run.update(lambda manifest: manifest["attempts"].append({"pid": 1}), status="running")
    assert json.loads((run.path / "run.json").read_text())["attempts"] == [{"pid": 1}]
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "config.yaml", "run.json"]


def test_a_search_that_stops_a_run_has_it_called_pruned_unless_somebody_goes_on_with_it(tmp_path):
    run = Run(tmp_path / "run")
    run.create(CONFIG, "abc")
    stopped = {"status": "interrupted", "error": "told to stop"}
    run.update(status="interrupted", attempts=[stopped])
    with run.lock(lambda owner: None):
        run.mark_pruned("loss=3")
        assert run.manifest["attempts"] == [stopped]
    run.mark_pruned("loss=3")
    assert run.status == "pruned" and run.manifest["attempts"] == [{"status": "pruned", "error": "loss=3"}]
    run.update(status="finished")
    run.mark_pruned("loss=3")
    assert run.status == "finished"
