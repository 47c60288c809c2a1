import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.numerals import WIDEST, amount, byte_size, compact, duration, time_left, written

VALUES = st.floats(-1e300, 1e300) | st.sampled_from([math.inf, -math.inf, math.nan])


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (5e29, "{:.4f}", "5.00e+29"),
        (1.5, "{:.4f}", "1.5000"),
        (5e29, "{:,.2f}", "5.00e+29"),
        (0.25, "{:.1%}", "25.0%"),
        (3e20, "{:.1%}", "3.00e+22%"),
        (1234567890123, "{:,.0f}", "1,234,567,890,123"),  # what is counted
        (float("nan"), "{:.4f}", "nan"),
        (float("-inf"), "{:.4f}", "-inf"),
    ],
)
def test_a_number_is_as_its_form_says_unless_it_is_too_wide(value, form, text):
    assert written(value, form) == text


@given(
    st.floats(-1e300, 1e300) | st.sampled_from([math.inf, -math.inf, math.nan]),
    st.sampled_from(["{:.4f}", "{:.3f}", "{:,.2f}", "{:.1%}"]),
)
def test_no_measurement_is_wider_than_a_column(value, form):
    text = written(value, form)
    assert len(text) <= WIDEST
    if math.isfinite(value):
        shown = float(text.rstrip("%").replace(",", "")) / (100 if "%" in text else 1)
        assert shown == pytest.approx(value, rel=0.01, abs=1e-2)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10M", 10_000_000),
        ("1.5b", 1_500_000_000),
        ("300k", 300_000),
        ("2_000", 2000),
        ("7", 7),
        ("M", None),
        ("1e6", None),
    ],
)
def test_amounts_may_have_a_unit(text, number):
    assert amount(text) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (compact(1_052_672), "1.05M"),
        (compact(999.9), "1k"),
        (compact(0.25), "0.25"),
        (compact(1.2e13), "12T"),
        (compact(None), ""),
        (byte_size(0), "0 B"),
        (byte_size(999), "999 B"),
        (byte_size(1600), "1.56 KiB"),
        (byte_size(1023 * 1024), "0.999 MiB"),
        (byte_size(3 << 40), "3 TiB"),
        (duration(0.0123), "12.3 ms"),
        (duration(90), "1.5 min"),
        (duration(7200), "2 h"),
        (duration(40 * 3600), "40 h"),
        (duration(345_600), "4 days"),
        (time_left(64.6), "0:01:05"),
    ],
)
def test_sizes_and_times_are_readable(text, expected):
    assert text == expected
