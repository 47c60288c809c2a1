import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.models.counts import MOST, WIDEST, check_count, check_width, divisors


@given(st.integers(-5, 5000))
def test_divisors_are_all_numbers_without_a_remainder(number):
    assert divisors(number) == [count for count in range(1, number + 1) if number % count == 0]


def test_limits_are_inclusive_and_named():
    check_count("model.depth", MOST)
    check_width("model.width", WIDEST)
    with pytest.raises(UserError, match="model.depth=10001: expected at most 10000"):
        check_count("model.depth", MOST + 1)
    with pytest.raises(UserError, match="model.width=16777217: expected at most 16777216"):
        check_width("model.width", WIDEST + 1)
