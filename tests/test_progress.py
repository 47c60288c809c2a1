import pytest

from lmlab import progress
from lmlab.progress import Pace, ProgressBar


@pytest.fixture
def at_once(monkeypatch):
    """Bars appear with the first that is done, and change with everything that is."""
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    monkeypatch.setattr(progress, "_INTERVAL", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


def test_a_bar_shows_what_is_done_of_what_is_left_to_do_and_leaves_standard_output_alone(at_once, capsys):
    with ProgressBar("Generating", 3000, shown=True, unit="tokens") as bar:
        bar.advance(1000)
        bar.shorten(500)
        bar.advance(250)
        with bar.hidden():
            before = len(capsys.readouterr().err)
            print("a text")
            assert (before > 0, capsys.readouterr()) == (True, ("a text\n", ""))
        bar.advance(1000)
    shown = capsys.readouterr()
    assert "Generating" in shown.err and "2,250/2,500 tokens" in shown.err and "tokens/s" in shown.err
    assert shown.out == ""


def test_a_bar_of_unknown_length_shows_what_is_done_in_its_unit(at_once, capsys):
    with ProgressBar("Tokenising", None, shown=True, unit="examples") as bar:
        bar.advance(1200)
    assert "1,200 examples" in capsys.readouterr().err


@pytest.mark.parametrize("shown", [True, False])
def test_a_bar_is_not_shown_before_its_time_or_where_nobody_sees_it(shown, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_PATIENCE", 1000.0 if shown else -1.0)
    with ProgressBar("Tokenising", 10, shown=shown) as bar:
        bar.advance(10)
    assert capsys.readouterr() == ("", "")


def test_a_pace_counts_what_was_done_since_it_was_made(monkeypatch):
    moment = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: moment)
    pace = Pace(done=30)
    moment = 104.0
    assert pace.seconds_left(30, left=6) is None
    assert pace.rate(42) == 3.0
    assert pace.seconds_left(42, left=6) == 2.0
