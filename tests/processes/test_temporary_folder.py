import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lmlab.errors import UserError
from lmlab.processes.spawn import TemporaryFolder, socket_folder

HOLDS = """
from lmlab.processes.spawn import TemporaryFolder
folder = TemporaryFolder()
print(folder.path, flush=True)
input()
"""


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


@pytest.mark.slow
def test_that_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_stays(system):
    (killed, abandoned), (living, kept) = hold(system), hold(system)
    (abandoned / "staged").write_text("half")
    killed.kill()
    killed.communicate()
    folder = TemporaryFolder()
    assert {*system.iterdir()} == {folder.path, kept}
    folder.remove()
    living.communicate("\n")


def test_sockets_go_to_a_folder_with_a_short_path(system, monkeypatch):
    assert socket_folder() == str(system) or len(str(system)) > 75
    long = system / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = socket_folder()
    with socket.socket(socket.AF_UNIX) as made:
        place = tempfile.mkdtemp(dir=folder, prefix="pymp-")
        made.bind(str(Path(place) / "listener-12345678"))
    shutil.rmtree(place)
    assert not list(long.iterdir())


def test_without_any_place_for_sockets_the_folder_that_is_too_long_is_named(system, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 90)
    monkeypatch.setattr(tempfile, "mkdtemp", unwritable)
    with pytest.raises(UserError, match="TMPDIR=/xxx.*too long for a socket"):
        socket_folder()


def unwritable(**options):
    raise PermissionError


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
