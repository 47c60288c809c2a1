import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lmlab import surroundings
from lmlab.surroundings import drop_empty_variables, expanded, tolerate_encodings, use_writable_folders


def test_empty_variables_count_as_unset_but_where_empty_means_something(monkeypatch):
    for name in ("LMLAB_OUTPUTS", "WANDB_MODE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("LMLAB_CORPORA", "x")
    drop_empty_variables()
    assert "LMLAB_OUTPUTS" not in os.environ and "WANDB_MODE" not in os.environ
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and os.environ["LMLAB_CORPORA"] == "x"


def test_a_home_is_expanded_where_there_is_one(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expanded("~/a") == Path("/home/somebody/a")
    assert expanded("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")


def test_what_a_terminal_has_no_code_for_is_written_as_an_escape(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    tolerate_encodings()
    print("été", flush=True)
    assert terminal.buffer.getvalue() == b"\\xe9t\\xe9\n"


def test_words_are_read_as_utf8_in_a_locale_of_ascii(tmp_path):
    (tmp_path / "über").touch()
    program = "import os, sys; from lmlab.surroundings import *; read_names_as_utf8(); print(sys.argv[1], os.listdir())"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONIOENCODING"} | locale
    command = [sys.executable, "-c", program, "实验"]
    said = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, check=True).stdout
    assert said == b"\\u5b9e\\u9a8c ['\\xfcber']\n"


def test_empty_variables_disturb_no_command(lmlab):
    assert "outputs/runs" in lmlab("runs", LMLAB_OUTPUTS="", LMLAB_CORPORA="").stdout


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine on which what is named in ``forbidden`` cannot be written, whoever runs the tests."""
    forbidden: set[tuple[Path, int]] = set()
    access = os.access

    def allowed(path, mode):
        return access(path, mode) and not any(Path(path) == place and mode & kind for place, kind in forbidden)

    monkeypatch.setattr(os, "access", allowed)
    for name in (*surroundings._CACHES, "TMPDIR"):
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
    use_writable_folders(tmp_path / "cache")
    assert dict(os.environ) == before
    assert not (tmp_path / "cache").exists()


def test_where_the_variable_is_missing_the_system_says_which_home_it_is(machine, tmp_path, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "user")
    use_writable_folders(tmp_path / "cache")
    assert os.environ["HOME"] == str(tmp_path / "user")


def test_a_home_that_can_only_be_read_keeps_settings_and_loses_caches(machine, tmp_path, monkeypatch):
    machine.add((tmp_path / "user", os.W_OK))
    monkeypatch.setenv("XDG_CACHE_HOME", "where the user says")
    use_writable_folders(tmp_path / "cache")
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
    use_writable_folders(tmp_path / "cache")
    assert os.environ["HOME"] == str(tmp_path / "cache" / "home")
    assert (tmp_path / "cache" / "home").is_dir() and not (tmp_path / "nobody").exists()


def test_a_temporary_folder_that_cannot_be_used_is_no_longer_named(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "full"))
    use_writable_folders(tmp_path / "cache")
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
    use_writable_folders(tmp_path / "cache")
    assert tempfile.gettempdir() == str(tmp_path / "cache" / "tmp")
    assert (tmp_path / "cache" / "tmp").is_dir()


def test_outputs_that_cannot_be_written_change_nothing(machine, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    before = dict(os.environ)
    use_writable_folders(tmp_path / "cache")
    assert dict(os.environ) == before
