import pytest

from lmlab.commands import tables

ROWS = [{"id": "5308e5f8cc", "name": "transformer-text", "options": "model=transformer optimizer.lr=0.00033"}]


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(tables.console, "_width", 40)


def test_what_is_to_be_pasted_is_not_cut(narrow, capsys):
    folder = f"/a/{'long/' * 20}folder"
    tables.print_table(f"1 run in {folder}", [{**row, "loss": "1.5"} for row in ROWS], optional=["loss"])
    printed = capsys.readouterr().out
    assert folder in printed and "…" not in printed and "loss" not in printed
    assert all(cell in printed for cell in ROWS[0].values())


def test_other_cells_are_cut_where_the_terminal_is_narrow(narrow, capsys):
    tables.print_table("", [{"name": "transformer-text " * 5, "status": "finished"}])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40 and "…" in lines[-1]


def test_units_and_splits_of_headings_have_lines_of_their_own(capsys):
    tables.print_table("", [{"run": "a", "loss (nats/token) (wikitext2)": "1.5", "bits/byte": "2.0"}])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [["loss"], ["nats/token"], ["run", "wikitext2", "bits/byte"]]
