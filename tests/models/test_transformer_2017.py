"""The Transformer of 2017 against its paper's equations, written out in float64."""

import math

import pytest
import torch

from lmlab.models.language_model import sinusoids

V, T, D, HEADS = 13, 7, 16, 4


def layer_norm(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("depth", [1, 2])
@torch.no_grad()
def test_every_vector_is_that_of_the_papers_equations(make_model, depth):
    model = make_model("model=transformer_2017", f"model.depth={depth}", dtype=torch.float64)
    for name, parameter in model.named_parameters():
        parameter.normal_(float(name.endswith("norm.weight")), 0.3)
    tokens = torch.randint(V, (T,), generator=torch.Generator().manual_seed(0))
    x = []  # the vectors of the positions so far
    for position, token in enumerate(tokens.tolist()):  # sections 3.4 and 3.5
        place = [(math.sin, math.cos)[i % 2](position / 10000 ** ((i - i % 2) / D)) for i in range(D)]
        x.append(model.embedding.weight[token] * math.sqrt(D) + torch.tensor(place, dtype=torch.float64))
    for block in model.blocks:
        query, key, value = block.mixer.projection_in.weight.split(D)
        attended = []
        for t in range(T):  # equation 1 and section 3.2.2
            heads = []
            for h in range(HEADS):
                own = slice(h * D // HEADS, (h + 1) * D // HEADS)
                scores = [(query[own] @ x[t]) @ (key[own] @ x[s]) / math.sqrt(D / HEADS) for s in range(t + 1)]
                weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
                heads.append(sum(w * (value[own] @ x[s]) for s, w in enumerate(weights)))
            attended.append(block.mixer.projection_out.weight @ torch.cat(heads))
        x = [layer_norm(before + y, block.mixer_norm) for before, y in zip(x, attended, strict=True)]  # section 3.1
        for t in range(T):  # equation 2
            inner = torch.clamp(block.channel.up.weight @ x[t] + block.channel.up.bias, min=0)
            x[t] = layer_norm(x[t] + block.channel.down.weight @ inner + block.channel.down.bias, block.channel_norm)
    torch.testing.assert_close(model(tokens[None])[0][0], torch.stack(x), rtol=0, atol=1e-10)
    logits = torch.stack(x) @ model.embedding.weight.T  # section 3.4: one matrix for both
    torch.testing.assert_close(
        model.head.log_probs(model(tokens[None])[0][0]), logits.log_softmax(1), rtol=0, atol=1e-10
    )


@torch.no_grad()
def test_a_prefix_of_any_length_is_read_as_if_it_were_all(make_model):
    model = make_model("model=transformer_2017", dtype=torch.float64)
    tokens = torch.randint(V, (2, 40))  # beyond the context: the positions have no end
    whole = model(tokens).hidden
    for length in (1, 2, 13, 39):
        torch.testing.assert_close(model(tokens[:, :length])[0], whole[:, :length], rtol=0, atol=1e-12)


@torch.no_grad()
def test_embeddings_and_positions_start_at_a_like_scale(make_model):
    model = make_model("model=transformer_2017", "model.width=64", vocabulary=500)
    embedded = model.embedding.weight.square().mean().sqrt() * model.embedding_scale
    places = sinusoids(torch.arange(500.0), 64).square().mean().sqrt()
    assert 0.5 < embedded / places < 2
