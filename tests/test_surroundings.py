import io
import os
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


def test_empty_variables_disturb_no_command(lmlab):
    assert "outputs/runs" in lmlab("runs", LMLAB_OUTPUTS="", LMLAB_CORPORA="").stdout
