from hypothesis import given
from hypothesis import strategies as st

from lmlab.training.module import step_seed

places = st.tuples(st.integers(0, 2**31), st.integers(-1, 10**7), st.integers(0, 1024))


@given(places, places)
def test_no_two_steps_or_ranks_share_a_seed(first, second):
    assert (step_seed(*first) == step_seed(*second)) == (first == second)
    assert 0 <= step_seed(*first) < 2**63


def test_seeds_are_the_same_in_every_version():
    """A resumed run must draw what it would have drawn: these numbers may never change."""
    assert step_seed(1, 0, 0) == EXPECTED[0]
    assert step_seed(1, 7, 1) == EXPECTED[1]


EXPECTED = (2466958782982823997, 7219978460350452372)
