import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.training.settings import MOST_TOKENS_PER_STEP, SCORED_PER_TRAINED, Batch, Budget, Settings, Validation


def test_a_step_has_tokens_that_can_be_counted():
    assert Batch(2**30, 2**10).size * 2**10 == MOST_TOKENS_PER_STEP
    with pytest.raises(UserError, match=r"^batch\.size=1073741825: expected an optimizer step of at most 1,099,"):
        Batch(2**30 + 1, 2**10)
    with pytest.raises(UserError, match=r"^batch\.context=10{30}: "):
        Batch(16, 10**30)
    with pytest.raises(UserError, match=r"^batch\.size=0: expected a whole number of at least 1"):
        Batch(0, 16)


@given(st.integers(1, 10**9), st.integers(1, 64), st.integers(1, 512), st.integers(1, 40), st.floats(0.001, 1.0))
def test_validations_before_the_last_take_their_share_of_the_training(tokens, size, context, times, share):
    settings = Settings(1, 1, Batch(size, context), Budget(tokens), Validation(times, share=share))
    steps = range(settings.validation_interval, settings.steps, settings.validation_interval)
    cost = len(steps) * settings.validation_part / SCORED_PER_TRAINED
    trained = settings.steps * settings.tokens_per_step
    assert cost <= share * trained
    assert not steps or cost >= share * trained - len(steps)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match=r"^validation\.share=.*: expected a number above 0 and at most 1, or null"):
        Validation(1, share=share)
