import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lmlab.runs.temporary import TemporaryFolder

HOLDS = "from lmlab.runs.temporary import TemporaryFolder\nprint(TemporaryFolder().path, flush=True)\ninput()"


@pytest.fixture
def system(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def hold(system: Path) -> tuple[subprocess.Popen, Path]:
    """A process that has made a folder, and the folder."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HOLDS], env=os.environ | {"TMPDIR": str(system)}, **pipes)
    return process, Path(process.stdout.readline().strip())


def test_it_goes_with_all_that_is_in_it(system):
    folder = TemporaryFolder()
    assert folder.path.parent == system
    (folder.path / "one" / "two").mkdir(parents=True)
    folder.remove()
    assert not list(system.iterdir())


def test_that_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_stays(system):
    others = [system / name for name in ("lmlab-notes.txt", "other", "lmlab-link")]
    others[0].write_text("somebody's")
    others[1].mkdir()
    others[2].symlink_to(others[1])
    (killed, abandoned), (living, kept) = hold(system), hold(system)
    (abandoned / "staged").write_text("half")
    assert abandoned.exists() and kept.exists()
    killed.kill()
    killed.communicate()
    folder = TemporaryFolder()
    assert {*system.iterdir()} == {folder.path, kept, *others}
    folder.remove()
    living.communicate("\n")


@pytest.mark.parametrize("before", ["open", "flock"])
def test_one_that_is_taken_for_abandoned_before_it_is_locked_is_made_anew(system, monkeypatch, before):
    of = {"open": os, "flock": fcntl}[before]
    original, gone = getattr(of, before), []

    def late(where, *options):
        if not gone:
            (path,) = system.iterdir()
            gone.append(path)
            path.rmdir()
        return original(where, *options)

    monkeypatch.setattr(of, before, late)
    folder = TemporaryFolder()
    assert [folder.path] == [*system.iterdir()] != gone
    folder.remove()
