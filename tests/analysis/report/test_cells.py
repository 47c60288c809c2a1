import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.analysis.report.cells import clipped, number, numeric, visible, written
from lmlab.analysis.report.document import Column, Interval, Table


@pytest.mark.parametrize(
    ("cell", "form", "text"),
    [
        (None, "{:.3f}", "–"),
        ("gru", "{:.3f}", "gru"),
        (1.23456, "{:.3f}", "1.235"),
        (-0.5, "{:+.2f}", "−0.50"),
        (0.1 + 0.2, "{}", "0.3"),
        (12345, "{:,}", "12,345"),
        (5e29, "{:.4f}", "5.00e+29"),
        (-5e29, "{:,.2f}", "−5.00e+29"),
        (True, "{}", "yes"),
        (math.nan, "{:.3f}", "NaN"),
        (-math.inf, "{:d}", "−∞"),
        (Interval(1.5, 1.25, 1.75), "{:.2f}", "1.50 [1.25, 1.75]"),
        (Interval(1.5, math.nan, math.nan), "{:.2f}", "1.50 [–]"),
        (Interval(1.5, -math.inf, math.inf), "{:.2f}", "1.50 [−∞, ∞]"),
    ],
)
def test_a_cell_is_written_in_the_form_of_its_column(cell, form, text):
    assert written(cell, Column("x", form=form)) == text


def test_what_a_cell_is_sorted_by():
    assert [number(c) for c in (3, 2.5, Interval(1.0, 0.0, 2.0), "3", None, math.nan)] == [
        3.0,
        2.5,
        1.0,
        None,
        None,
        None,
    ]
    table = Table("t", "t", [Column("a"), Column("b"), Column("c")], [["x", 1, None], ["y", None, None]])
    assert numeric(table) == [False, True, False]


@given(st.text(alphabet=st.characters(), max_size=300))
def test_no_text_keeps_what_cannot_be_seen_and_nothing_else_is_lost(text):
    import unicodedata

    shown = visible(text)
    assert not {c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n"}
    directing = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not directing & {unicodedata.bidirectional(c) for c in shown}
    assert visible(shown) == shown
    shown.encode()
    assert "".join(clipped(text, 50)) == shown
