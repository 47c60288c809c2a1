import pytest

from lmlab.errors import UserError
from lmlab.runs.metrics import direction, heading, is_score, label, on_split, split_of


def test_headings():
    assert (label("test/bits_per_byte"), heading("test/bits_per_byte")) == ("bits/byte", "test bits/byte")
    assert (label("validation/mine"), heading("validation/mine")) == ("mine", "validation mine")
    assert on_split("validation/loss", "test") == "test/loss"
    assert (label("ema/loss"), heading("ema/loss")) == ("loss (nats/token) (EMA)", "validation loss (nats/token) (EMA)")
    assert (split_of("ema/loss"), on_split("ema/loss", "validation")) == ("validation", "ema/loss")
    assert split_of("ema/mine") == "ema", "a callback's own"
    assert is_score("longer/accuracy") and not is_score("validation/mine") and not is_score("loss")


def test_directions():
    assert direction("test/accuracy") == "maximize" and direction("test/loss", "minimize") == "minimize"
    assert direction("validation/mine") == "minimize" and direction("validation/mine", "maximize") == "maximize"
    with pytest.raises(UserError, match="study.direction=maximize: expected minimize for test/loss"):
        direction("test/loss", "maximize", "study.direction")
