import os
import tempfile
from pathlib import Path

import pytest

from lmlab.runs import places
from lmlab.runs.places import settle


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine on which what is named in ``forbidden`` cannot be written, whoever runs the tests."""
    forbidden: set[tuple[Path, int]] = set()
    access = os.access

    def allowed(path, mode):
        return access(path, mode) and not any(Path(path) == place and mode & kind for place, kind in forbidden)

    monkeypatch.setattr(places.os, "access", allowed)
    for name in (*places._CACHES, "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "user").mkdir()
    before = dict(os.environ)
    yield forbidden
    os.environ.clear()
    os.environ.update(before)


def test_a_home_that_can_be_written_stays_and_nothing_is_made(machine, tmp_path):
    before = dict(os.environ)
    settle(tmp_path / "cache")
    assert dict(os.environ) == before
    assert not (tmp_path / "cache").exists()


def test_where_the_variable_is_missing_the_system_says_which_home_it_is(machine, tmp_path, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "user")
    settle(tmp_path / "cache")
    assert os.environ["HOME"] == str(tmp_path / "user")


def test_a_home_that_can_only_be_read_keeps_settings_and_loses_caches(machine, tmp_path, monkeypatch):
    machine.add((tmp_path / "user", os.W_OK))
    monkeypatch.setenv("XDG_CACHE_HOME", "where the user says")
    settle(tmp_path / "cache")
    assert os.environ["HOME"] == str(tmp_path / "user")
    assert os.environ["XDG_CACHE_HOME"] == "where the user says"
    assert os.environ["MPLCONFIGDIR"].startswith(str(tmp_path / "cache" / "home"))


@pytest.mark.parametrize("error", [None, RuntimeError("Could not determine home directory.")])
def test_a_home_that_is_absent_is_replaced_also_the_first_time(machine, tmp_path, monkeypatch, error):
    def home():
        if error is not None:
            raise error
        return tmp_path / "nobody"

    monkeypatch.setattr(Path, "home", home)
    settle(tmp_path / "cache")
    assert os.environ["HOME"] == str(tmp_path / "cache" / "home")
    assert (tmp_path / "cache" / "home").is_dir() and not (tmp_path / "nobody").exists()


def test_a_temporary_folder_that_cannot_be_used_is_no_longer_named(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "full"))
    settle(tmp_path / "cache")
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(tmp_path)


@pytest.mark.parametrize("last", ["nowhere", "working directory"])
def test_where_no_temporary_folder_has_room_it_is_made_among_the_outputs(machine, tmp_path, monkeypatch, last):
    def none():
        if tempfile.tempdir is None:
            raise FileNotFoundError
        return tempfile.tempdir

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None if last == "nowhere" else str(tmp_path))
    monkeypatch.setattr(tempfile, "gettempdir", none)
    settle(tmp_path / "cache")
    assert tempfile.gettempdir() == str(tmp_path / "cache" / "tmp")
    assert (tmp_path / "cache" / "tmp").is_dir()


def test_outputs_that_cannot_be_written_change_nothing(machine, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    before = dict(os.environ)
    settle(tmp_path / "cache")
    assert dict(os.environ) == before
