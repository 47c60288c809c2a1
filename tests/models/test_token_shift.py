"""A mix of each vector with the one before it."""

import pytest
import torch

from lmlab.errors import UserError
from lmlab.models.block import PreNormBlock
from lmlab.models.token_shift import TokenShift


def test_a_vector_is_mixed_with_the_one_before_it_channel_by_channel():
    shift = TokenShift(2, 0.25)
    with torch.no_grad():
        shift.share[1] = 1.0
    x = torch.tensor([[[4.0, 1.0], [8.0, 2.0], [0.0, 3.0]]])
    y, last = shift(x, None)
    torch.testing.assert_close(y, torch.tensor([[[3.0, 0.0], [7.0, 1.0], [2.0, 2.0]]]))
    assert last.tolist() == [[[0.0, 3.0]]]
    torch.testing.assert_close(shift(x, torch.tensor([[[8.0, 9.0]]]))[0][0, 0], torch.tensor([5.0, 9.0]))


def test_both_mixers_of_a_block_read_the_mix():
    read = []

    class Mixer(torch.nn.Module):
        def forward(self, x, state):
            read.append(x)
            return 0 * x, state

    channel = torch.nn.Identity()
    channel.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    block = PreNormBlock(3, Mixer(), channel, lambda _: torch.nn.Identity(), torch.nn.Identity, token_shift=0.5)
    x = torch.randn(2, 4, 3)
    _, mixer_last, channel_last = block(x, None).state
    before = torch.cat([torch.zeros(2, 1, 3), x[:, :-1]], 1)
    for mixed, last in zip(read, (mixer_last, channel_last), strict=True):
        torch.testing.assert_close(mixed, (x + before) / 2)
        torch.testing.assert_close(last, x[:, -1:])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(UserError, match=r"model\.block\.token_shift=.*0 to 1"):
        PreNormBlock(3, torch.nn.Identity(), None, torch.nn.LayerNorm, torch.nn.Identity, token_shift=share)
