import pytest

from lmlab.errors import UserError
from lmlab.training.settings import MOST_TOKENS_PER_STEP, Batch


def test_a_step_has_tokens_that_can_be_counted():
    assert Batch(2**30, 2**10).size * 2**10 == MOST_TOKENS_PER_STEP
    with pytest.raises(UserError, match=r"^batch\.size=1073741825: expected an optimizer step of at most 1,099,"):
        Batch(2**30 + 1, 2**10)
    with pytest.raises(UserError, match=r"^batch\.context=10{30}: "):
        Batch(16, 10**30)
    with pytest.raises(UserError, match=r"^batch\.size=0: expected a whole number of at least 1"):
        Batch(0, 16)
