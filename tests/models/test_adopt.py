"""Plain modules as parts of a model: the methods that they lack, and those whose names are misspelt."""

import pytest
import torch
from torch import nn

from lmlab.errors import UserError
from lmlab.models.adopt import adopt
from lmlab.models.channels.channel import Channel
from lmlab.models.mixers.mixer import Mixer


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x_BTD, state):
        return self.linear(x_BTD), state


def test_a_plain_module_gets_the_methods_that_it_lacks():
    part = Plain()
    weights = list(part.state_dict())
    mixer = adopt(part, Mixer, "model.mixer")
    assert mixer is part and isinstance(mixer, Mixer) and isinstance(mixer, Plain)
    assert mixer.extra_flops(8) == 0 and mixer.state_size(8) is None and mixer.split() is None
    assert list(mixer.state_dict()) == weights and type(mixer).__name__ == "Plain"
    assert mixer(torch.ones(1, 2, 3), None)[0].shape == (1, 2, 3)


def test_its_own_methods_stay():
    class Counting(Plain):
        def extra_flops(self, context):
            return 7 * context

    assert adopt(Counting(), Mixer, "model.mixer").extra_flops(2) == 14


@pytest.mark.parametrize(
    ("name", "right"), [("extra_flop", "extra_flops"), ("statesize", "state_size"), ("splits", "split")]
)
@pytest.mark.parametrize("base", [Plain, Mixer])
def test_a_misspelt_method_is_refused(base, name, right):
    own = type("Own", (base,), {name: lambda self, context: 1})
    with pytest.raises(UserError, match=rf"^model\.mixer: Own\.{name}: did you mean {right}\?$"):
        adopt(own(), Mixer, "model.mixer")


def test_other_names_are_free():
    own = type("Own", (Channel,), {"flops": 3, "gate": lambda self: 1, "_split": 1, "stated": 2})
    assert adopt(own(), Channel, "model.channel").gate() == 1
