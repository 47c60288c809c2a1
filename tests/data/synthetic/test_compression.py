import pytest

from lmlab.data.synthetic import Compression
from lmlab.errors import UserError


@pytest.mark.parametrize(("length", "size"), [(62, 31), (63, 31), (2, 1)])
def test_answers_follow_from_the_beginning(solved, length, size):
    """After the n-th sign, the n-th symbol."""
    assert solved(Compression(), lambda prefix: prefix[prefix.count(15) - 1], length) == 30 * size


def test_one_symbol_is_too_few():
    with pytest.raises(UserError, match=r"data\.vocabulary=2: expected at least 3"):
        Compression(2)
