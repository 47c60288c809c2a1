import math

import pytest

from lmlab.errors import UserError
from lmlab.metrics import Measures, Metric, averaged, cost, is_averaged, on_split, split_of
from lmlab.runs.version import measures_of

TEXT = measures_of({})
TASK = measures_of({"data": {"licence": "generated"}})
EXACT = Measures(
    "validation/exact_match",
    ("validation/exact_match", "validation/loss"),
    {"exact_match": Metric("exact_match", "exact match", "higher", "{:.1%}"), "loss": TEXT.metrics["loss"]},
)


def test_headings():
    assert (TEXT.label("test/bits_per_byte"), TEXT.heading("test/bits_per_byte")) == ("bits/byte", "test bits/byte")
    assert (TEXT.label("validation/mine"), TEXT.heading("validation/mine")) == ("mine", "validation mine")
    assert on_split("validation/loss", "test") == "test/loss" and averaged("test/loss") == "ema/loss"
    averages = TEXT.label("ema/loss"), TEXT.heading("ema/loss")
    assert averages == ("loss (nats/token) (EMA)", "validation loss (nats/token) (EMA)")
    assert (split_of("ema/loss"), on_split("ema/loss", "validation")) == ("validation", "ema/loss")
    assert is_averaged("ema/loss") and not is_averaged("validation/loss")
    assert TASK.headings() == {
        "validation/accuracy": "accuracy",
        "validation/loss": "loss (nats/token)",
        "longer/accuracy": "accuracy (longer)",
    }


def test_directions():
    assert TEXT.better("test/accuracy") == "higher" and TEXT.better("test/loss", "minimize") == "lower"
    assert TEXT.better("validation/mine") == "lower" and TEXT.better("validation/mine", "maximize") == "higher"
    with pytest.raises(UserError, match="study.direction=maximize: expected minimize for test/loss"):
        TEXT.better("test/loss", "maximize", "study.direction")
    with pytest.raises(UserError, match="direction=up: expected minimize or maximize"):
        TEXT.better("test/loss", "up")


def test_values_as_text():
    assert TEXT.written("test/accuracy", 0.12345) == "12.3%" and TEXT.written("validation/loss", 2) == "2.0000"
    assert TEXT.written("validation/mine", 0.125) == "0.1250" and TEXT.written("validation/loss", None) == ""


def test_a_cost_is_least_for_the_best_and_infinite_where_there_is_no_value():
    values = [0.5, None, math.nan, 0.25, -math.inf, math.inf]
    assert sorted(values, key=lambda value: cost(value, "lower"))[:2] == [0.25, 0.5]
    assert sorted(values, key=lambda value: cost(value, "higher"))[:2] == [0.5, 0.25]
    assert [cost(value, "higher") for value in values].count(math.inf) == 4


def test_several_runs_have_the_primary_metric_of_most_and_show_those_of_all():
    both = Measures.together([TEXT, EXACT, EXACT])
    assert both.primary == "validation/exact_match" and both.metrics.keys() == {*TEXT.metrics, "exact_match"}
    assert both.shown == ("validation/exact_match", "validation/bits_per_byte", "validation/loss")
    with pytest.raises(ValueError, match="no measures"):
        Measures.together([])


def test_what_is_recorded_is_read_back():
    assert Measures.of(EXACT.to_record()) == EXACT
    assert measures_of({"measures": EXACT.to_record(), "data": {"licence": "generated"}}) == EXACT
