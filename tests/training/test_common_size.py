import re

import pytest
from model_sections import model_section

from lmlab.errors import UserError
from lmlab.training.sizing import SizeRequest, check_sizes

V, C = 256, 32
MODELS = ("lstm", "rnn")


def asked(*words, models=MODELS):
    """Models that ask for a size."""
    sections = [model_section(f"model={name}", *words) for name in models]
    return [SizeRequest(name, section, V, C) for name, section in zip(models, sections, strict=True)]


def lstm(width):
    """Parameters of two LSTM layers, of one embedding table that is also the head's."""
    return V * width + 2 * (8 * width * width + 8 * width)


def test_what_not_all_can_have_is_one_message_with_sizes_that_all_can_have():
    with pytest.raises(UserError) as error:
        check_sizes(asked("model.parameters=60k"))
    message = str(error.value)
    assert message.startswith(
        "model.parameters=60k: not within 1 % for lstm (59,360 with width 53 or 61,344 with width 54)"
    )
    assert (lstm(53), lstm(54)) == (59_360, 61_344)
    assert "; within it for rnn (" in message and "\n" not in message
    size, within = re.search(r"model.parameters=(\S+) is the nearest that fits all, or (\S+) accepts", message).groups()
    check_sizes(asked(f"model.parameters={size}"))
    check_sizes(asked("model.parameters=60k", within))
    # What is nearer is more than 1 % off both widths of the LSTM.
    off = abs(round(float(size[:-1]) * 1000) - 60_000)
    nearer = range(60_000 - off + 100, 60_000 + off, 100)
    assert all(abs(lstm(width) - number) > 0.01 * number for width in (53, 54) for number in nearer)


def test_what_all_can_have_passes_and_sizes_are_compared_with_those_that_ask_for_the_same():
    check_sizes(asked("model.parameters=3M"))
    check_sizes(asked())
    check_sizes([])
    one, two = asked("model.parameters=3M"), asked("model.parameters=60k")
    with pytest.raises(UserError, match=r"^model\.parameters=60k: .* for lstm \([^)]*\); .* rnn"):
        check_sizes([*one, *two])


def test_what_is_wrong_at_any_size_is_said_as_it_is():
    with pytest.raises(UserError, match=r"^model\.mixer\.heads=0"):
        check_sizes(asked("model.parameters=60k", "model.mixer.heads=0", models=("transformer",)))
