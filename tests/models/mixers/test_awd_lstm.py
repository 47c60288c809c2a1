import pytest
import torch
from torch import nn

from lmlab.errors import UserError
from lmlab.models.mixers.awd_lstm import AWDLSTM

B, T, D = 3, 6, 8
NO_DROPOUT = {"weight_dropout": 0.0, "input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.0}


def cell(layer, u, x, h, c):
    """Gers et al. 2000, one token, with recurrent matrix ``u``."""
    i, f, g, o = (layer.weight_ih_l0 @ x + layer.bias_ih_l0 + u @ h + layer.bias_hh_l0).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@torch.no_grad()
def test_in_evaluation_it_is_layers_of_the_papers_widths_one_after_the_other():
    torch.manual_seed(0)
    mixer = AWDLSTM(D).double().eval()
    assert [(layer.input_size, layer.hidden_size) for layer in mixer.layers] == [(8, 23), (23, 23), (23, 8)]
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    y_BTD, state, auxiliary = mixer(x_BTD, None)
    assert auxiliary == {}
    for b in range(B):
        carried = [(torch.zeros(size, dtype=torch.float64),) * 2 for size in (23, 23, 8)]
        for t in range(T):
            h = x_BTD[b, t]
            for index, layer in enumerate(mixer.layers):
                carried[index] = cell(layer, layer.weight_hh_l0, h, *carried[index])
                h = carried[index][0]
            torch.testing.assert_close(y_BTD[b, t], h, rtol=0, atol=1e-12)
        for (h_B1D, c_B1D), (h, c) in zip(state, carried, strict=True):
            torch.testing.assert_close((h_B1D[b, 0], c_B1D[b, 0]), (h, c), rtol=0, atol=1e-12)


def test_recurrent_weights_are_dropped_once_for_all_tokens_and_get_no_gradient_then():
    torch.manual_seed(0)
    options = NO_DROPOUT | {"weight_dropout": 0.5}
    mixer = AWDLSTM(D, layers=1, **options).double().train()
    (layer,) = mixer.layers
    x_BTD = torch.randn(1, T, D, dtype=torch.float64)
    torch.manual_seed(1)
    mask = nn.functional.dropout(torch.ones_like(layer.weight_hh_l0), 0.5)
    torch.manual_seed(1)
    y_BTD = mixer(x_BTD, None)[0]
    h = c = torch.zeros(D, dtype=torch.float64)
    expected = []
    for x in x_BTD[0]:
        h, c = cell(layer, layer.weight_hh_l0 * mask, x, h, c)
        expected.append(h)
    torch.testing.assert_close(y_BTD[0], torch.stack(expected), rtol=0, atol=1e-12)
    (found,) = torch.autograd.grad(y_BTD.square().sum(), layer.weight_hh_l0)
    (slow,) = torch.autograd.grad(torch.stack(expected).square().sum(), layer.weight_hh_l0)
    torch.testing.assert_close(found, slow, rtol=0, atol=1e-12)
    assert torch.equal(found == 0, mask == 0)


@pytest.mark.parametrize("length", [1, T])
def test_activations_are_penalised_after_dropout_and_their_changes_before(length):
    torch.manual_seed(0)
    mixer = AWDLSTM(D, **(NO_DROPOUT | {"output_dropout": 0.5}), activation=3.0, temporal=7.0).train()
    x_BTD = torch.randn(B, length, D)
    y_BTD = mixer(x_BTD, None)[0]
    raw_BTD = mixer.eval()(x_BTD, None)[0]
    mixer.train()(x_BTD, None)
    masks_BTD = y_BTD / raw_BTD
    assert torch.allclose(masks_BTD, masks_BTD[:, :1]) and ((masks_BTD - 2).abs() < 1e-4).any()
    changes = [(raw_BTD[:, t] - raw_BTD[:, t - 1]).square().mean() for t in range(1, length)]
    torch.manual_seed(2)
    y_BTD, _, losses = mixer(x_BTD, None)
    torch.testing.assert_close(losses["activation_regularisation"], 3 * (y_BTD**2).mean())
    torch.testing.assert_close(
        losses["temporal_regularisation"], 7 * sum(changes, torch.zeros(())) / max(1, length - 1)
    )
    assert (
        AWDLSTM(D, activation=0.0, temporal=0.0).train()(x_BTD, None) and not mixer.eval()(x_BTD, None)[0].isnan().any()
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"layers": 0}, r"model\.mixer\.layers=0"),
        ({"expansion": 0.01}, r"model\.mixer\.expansion=0\.01: .*nearest: 0\.125"),
        ({"weight_dropout": 1.0}, r"model\.mixer\.weight_dropout=1\.0"),
        ({"hidden_dropout": -0.1}, r"model\.mixer\.hidden_dropout=-0\.1"),
        ({"temporal": -1.0}, r"model\.mixer\.temporal=-1\.0"),
    ],
)
def test_impossible_options_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        AWDLSTM(D, **options)
