import pytest
import torch

from lmlab.models.mixers.xlstm import BlockDiagonal, HeadNorm


@torch.no_grad()
def test_projections_are_products_with_block_diagonal_matrices():
    projection = BlockDiagonal(12, 4, 2).double()
    x_BTC = torch.randn(2, 5, 12, dtype=torch.float64)
    for output, y_BTC in enumerate(projection(x_BTC)):
        blocks = [block[:, 3 * output : 3 * output + 3] for block in projection.weight]
        torch.testing.assert_close(y_BTC, x_BTC @ torch.block_diag(*blocks))


@torch.no_grad()
def test_the_norm_by_head_is_torchs_group_norm():
    norm, reference = HeadNorm(12), torch.nn.GroupNorm(3, 12, eps=1e-6)
    reference.weight.copy_(norm.gain.data.normal_())
    h_BTHP = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(norm(h_BTHP), reference(h_BTHP.reshape(10, 12)).view(2, 5, 12))


@torch.no_grad()
def test_an_xlstm_has_three_matrix_memories_to_a_scalar_one_with_a_perceptron(make_model):
    model = make_model("model=xlstm", "model.depth=8", dtype=torch.float64)
    kinds = [(type(block.mixer).__name__, type(block.channel).__name__) for block in model.blocks]
    assert kinds == 2 * [*3 * [("MLSTM", "NoneType")], ("SLSTM", "GeGLU")]
    assert model.blocks[3].channel.down.weight.shape == (16, 24)  # 4/3 of 16, to a multiple of 8
    tokens, state, steps = torch.randint(13, (2, 9)), None, []
    for token in tokens.split(1, 1):
        step, state, _ = model(token, state)
        steps.append(step)
    torch.testing.assert_close(torch.cat(steps, 1), model(tokens)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("overrides", ["model=mlstm", "model=slstm", "model=xlstm"])
def test_the_scale_of_logits_and_gradients_depends_little_on_depth(make_model, overrides):
    logits, gradients = [], []
    for depth in (2, 4, 16):
        model = make_model(overrides, "model.width=32", f"model.depth={depth}", vocabulary=50)
        hidden = model(torch.randint(50, (4, 32))).hidden
        logits.append(model.head.linear(hidden).std().item())
        model.head.cross_entropy(hidden.flatten(0, 1), torch.randint(50, (128,))).backward()
        gradients.append(model.embedding.weight.grad.norm().item())
    assert max(logits) / min(logits) < 1.2
    assert max(gradients) / min(gradients) < 1.5
