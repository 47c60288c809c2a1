"""Simulated memory against what autograd saves and what the allocator hands out."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lmlab.config.build import build
from lmlab.planning.footprint import footprint, head_bytes
from lmlab.planning.memory import FusedAttention, LiveBytes

pytestmark = pytest.mark.slow

V, T = 1000, 64

MODELS = {
    "gpt2": ("model.depth=5",),
    "llama": ("model.depth=4", "model.dropout=0.1"),
    "hybrid": ("model.pattern=[mamba2,attention,lstm]", "model.depth=7"),
    "lstm": ("model.depth=4",),
    "xlstm": ("model.depth=4",),
}


@pytest.fixture
def made(compose):
    def make(name, device="meta", *overrides, context=T):
        options = (f"model={name}", "model.width=32", *MODELS[name], *overrides)
        config = compose(f"vocabulary={V}", f"batch.context={context}", *options, command="describe")
        with torch.device(device):
            return build(config["model"], vocabulary=V, context=context)

    return make


def saved_bytes(model, rows, context, device="meta", forward=None):
    """What autograd saves of the whole network, parameters left out."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    tokens_BT = torch.zeros(rows, context, dtype=torch.int64, device=device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), FusedAttention():
        (forward or model.train())(tokens_BT)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [1, 3])
def test_few_blocks_stand_for_all(made, name, rows):
    model = made(name)
    depth = len(model.blocks)
    found = footprint(model, T, "32-true")
    assert found.activations(rows) == pytest.approx(saved_bytes(model, rows, T), rel=0.02)
    assert len(model.blocks) == depth == sum(block.times for block in found.blocks)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.outside == found.parameters - sum(p.numel() for p in model.blocks.parameters())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_allocator_hands_out_what_was_simulated(made, allocated, name):
    rows = 8
    cpu = made(name, "cpu").train()
    tokens_BT = torch.zeros(rows, T, dtype=torch.int64)
    cpu(tokens_BT)  # what is cached is there
    _, still = allocated(lambda: cpu(tokens_BT)[0])
    assert footprint(made(name), T, "32-true").activations(rows) == pytest.approx(still, rel=0.1)


def test_checkpointed_blocks_keep_what_they_read(made, allocated):
    rows = 8
    cpu = made("gpt2", "cpu").train()
    tokens_BT = torch.zeros(rows, T, dtype=torch.int64)
    for block in cpu.blocks:
        plain = block.forward
        block.forward = lambda x, state, plain=plain: checkpoint(plain, x, state, use_reentrant=False)

    def forward():
        return cpu(tokens_BT)[0].sum()  # the states, which a step keeps no longer than its forward pass, are gone

    forward()
    _, still = allocated(forward)
    found = footprint(made("gpt2"), T, "32-true")
    one_block = max(block.kept(rows) for block in found.blocks)
    assert found.activations(rows, checkpointing=True) - one_block == pytest.approx(still, rel=0.1)
    assert found.activations(rows, checkpointing=True) < found.activations(rows)


def test_autocast_saves_as_on_a_cpu(made):
    rows, name = 4, "llama"
    cpu = made(name, "cpu").train()

    def forward(tokens_BT):
        with torch.autocast("cpu", torch.bfloat16):
            return cpu(tokens_BT)

    found = footprint(made(name), T, "bf16-mixed")
    measured = saved_bytes(cpu, rows, T, "cpu", forward)
    assert found.activations(rows) + found.copies == pytest.approx(measured, rel=0.15)


def test_half_the_width_is_half_the_memory(made):
    whole, half = (footprint(made("gpt2"), T, precision) for precision in ("32-true", "bf16-true"))
    assert (whole.bytes_each, half.bytes_each) == (4, 2)
    assert half.activations(4) == pytest.approx(whole.activations(4) / 2, rel=0.05)
    mixed = footprint(made("gpt2"), T, "bf16-mixed")
    assert half.activations(4) < mixed.activations(4) < whole.activations(4)
    # Matrices are copied, those of all five blocks; embeddings and norms are not.
    matrices = 5 * 12 * 32 * 32
    assert mixed.copies == 2 * matrices


def test_what_lives_at_once():
    with LiveBytes() as live:
        one = torch.ones(100)
        del one
        other = torch.ones(50)
        view = other[:10]
        assert live.now == 4 * 50 and live.most == 4 * 100
        del view, other
    assert live.now == 0


@pytest.mark.parametrize("head", ["softmax", "mixture_of_softmaxes"])
def test_chunks_follow_each_other(made, head):
    model = made("gpt2", "meta", f"head={head}")
    model.head.__class__.keeps = lambda self, targets_N: False
    try:
        chunk = model.head.chunk
        few, many = head_bytes(model, 2 * chunk, "32-true"), head_bytes(model, 20 * chunk, "32-true")
        with LiveBytes() as live:
            hidden = torch.empty(20 * chunk, 32, device="meta", requires_grad=True)
            targets = torch.zeros(20 * chunk, dtype=torch.int64, device="meta")
            before = live.now
            model.head.cross_entropy(hidden, targets)
    finally:
        del model.head.__class__.keeps
    assert many == pytest.approx(live.most - before, rel=0.02) and few < many
