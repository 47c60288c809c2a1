import io
import os
import subprocess
import sys
from pathlib import Path

from lmlab.surroundings import drop_empty_variables, expanded, tolerate_encodings


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
