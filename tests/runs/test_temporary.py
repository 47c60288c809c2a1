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
    (killed, abandoned), (living, kept) = hold(system), hold(system)
    (abandoned / "staged").write_text("half")
    killed.kill()
    killed.communicate()
    folder = TemporaryFolder()
    assert {*system.iterdir()} == {folder.path, kept}
    folder.remove()
    living.communicate("\n")


def test_what_somebody_else_has_put_there_stays(system):
    notes, empty, link = (system / f"lmlab-run-{name}" for name in ("notes", "empty", "link"))
    notes.mkdir()
    (notes / "notes.txt").write_text("mine")
    empty.mkdir()
    (system / "other").mkdir()
    (system / "other" / ".held-by-lmlab").touch()
    link.symlink_to(system / "other")
    before = {*system.rglob("*")}
    TemporaryFolder().remove()
    assert {*system.rglob("*")} == before


def test_one_that_is_taken_for_abandoned_before_it_is_locked_is_made_anew(system, monkeypatch):
    gone, flock = [], fcntl.flock

    def late(descriptor, kind):
        if not gone:
            (path,) = system.iterdir()
            gone.append(path)
            (path / ".held-by-lmlab").unlink()
            path.rmdir()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    folder = TemporaryFolder()
    assert [folder.path] == [*system.iterdir()] != gone
    folder.remove()
