import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmlab.models.parameters import parameter_counts
from lmlab.models.sizes import describe_sizes, flops_per_token, grows_with_context, state_bytes
from lmlab.models.state import size_in_bytes

V, C = 1000, 32

COUNTS = {
    # Two LSTM layers of width 200, each with four gates of two matrices and two biases; nothing else but the embedding.
    "model=lstm model.width=200": {
        "total": V * 200 + 2 * (4 * 2 * 200 * 200 + 4 * 2 * 200),
        "non_embedding": 2 * (4 * 2 * 200 * 200 + 4 * 2 * 200),
        "matmul": V * 200 + 2 * 4 * 2 * 200 * 200,
    },
    "model=lstm model.width=200 model.tie_embeddings=false model.head.bias=true": {
        "total": 2 * V * 200 + V + 2 * (4 * 2 * 200 * 200 + 4 * 2 * 200),
        "non_embedding": V * 200 + V + 2 * (4 * 2 * 200 * 200 + 4 * 2 * 200),
        "matmul": V * 200 + 2 * 4 * 2 * 200 * 200,
    },
    # Four blocks of width 128: 3 + 1 projections, SwiGLU of inner width 344 (8/3 x 128, to a multiple of 8), gains.
    "model=transformer model.width=128 model.depth=4": {
        "total": V * 128 + 4 * (4 * 128 * 128 + 3 * 128 * 344 + 2 * 128) + 128,
        "non_embedding": 4 * (4 * 128 * 128 + 3 * 128 * 344 + 2 * 128) + 128,
        "matmul": V * 128 + 4 * (4 * 128 * 128 + 3 * 128 * 344),
    },
    # 12 width^2 a block, a gain for each of nine norms, and the table of positions.
    "model=gpt2 model.width=128 model.depth=4": {
        "total": V * 128 + C * 128 + 4 * 12 * 128 * 128 + 9 * 128,
        "non_embedding": 4 * 12 * 128 * 128 + 9 * 128,
        "matmul": V * 128 + 4 * 12 * 128 * 128,
    },
    # On one LSTM layer: mixing weights, a projection with bias for each component, and the bias of the output.
    "model=lstm head=mixture_of_softmaxes model.width=16 model.depth=1 model.head.components=3": {
        "total": V * 16 + (8 * 16 * 16 + 8 * 16) + 3 * 16 + 3 * (16 * 16 + 16) + V,
        "non_embedding": (8 * 16 * 16 + 8 * 16) + 3 * 16 + 3 * (16 * 16 + 16) + V,
        "matmul": V * 16 + 8 * 16 * 16 + 3 * 16 + 3 * 16 * 16,
    },
}


@pytest.mark.parametrize("overrides", COUNTS)
def test_parameters_are_those_counted_by_hand(make_model, overrides):
    assert parameter_counts(make_model(overrides, vocabulary=V, context=C)) == COUNTS[overrides]


@pytest.mark.parametrize(
    "overrides",
    [
        "model=transformer",
        "model=transformer model.mixer.kv_heads=2 model.tie_embeddings=false",
        "model=gpt2 model.mixer.bias=true model.channel.bias=true",
        "model=transformer head=mixture_of_softmaxes",
        "model=gpt2 head=mixture_of_softmaxes model.head.factorised=false model.tie_embeddings=false",
    ],
)
@torch.no_grad()
def test_operations_agree_with_the_frameworks_counter(make_model, overrides):
    model = make_model(overrides, "model.width=64", vocabulary=V, context=C)
    # The counter does not see inside the fused attention kernel of a CPU; it does see the products it stands for.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model(torch.zeros(2, C, dtype=torch.int64)).hidden
        model.head.log_probs(hidden)
    assert flops_per_token(model, C) == pytest.approx(counter.get_total_flops() / (2 * C), rel=0.02)


@pytest.mark.parametrize("context", [32, 64])
@torch.no_grad()
def test_operations_of_every_model_agree_with_the_frameworks_counter(make_model, shipped, context):
    model = make_model(shipped, "model.width=64", vocabulary=V, context=context)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model(torch.zeros(2, context, dtype=torch.int64)).hidden
        model.head.log_probs(hidden)
    # What the counter does not see: the products inside the fused kernel of torch's LSTM.
    fused = [module for module in model.modules() if isinstance(module, torch.nn.LSTM)]
    unseen = 2 * sum(p.numel() for module in fused for p in module.parameters() if p.ndim == 2)
    counted = counter.get_total_flops() / (2 * context) + unseen
    assert flops_per_token(model, context) == pytest.approx(counted, rel=0.02)


def test_operations_of_an_lstm_are_those_counted_by_hand(make_model):
    # The framework's counter sees nothing inside an LSTM kernel. A step: 4 gates, 2 matrices, 2 operations an entry.
    model = make_model("model=lstm model.width=200", vocabulary=V)
    assert flops_per_token(model, 5) == flops_per_token(model, 500) == 2 * 16 * 200**2 + 2 * V * 200


def test_state_bytes_are_those_counted_by_hand(make_model):
    assert state_bytes(make_model("model=lstm", "model.width=200"), 7) == 4 * 2 * 2 * 200
    assert state_bytes(make_model("model=transformer", "model.width=32"), 7) == 4 * 2 * 7 * 2 * 32
    grouped = make_model("model=transformer", "model.width=32", "model.mixer.kv_heads=1")
    assert state_bytes(grouped, 7) == 4 * 2 * 7 * 2 * 32 // 4


def test_only_attention_grows_with_context(make_model, architecture):
    model = make_model(architecture)
    kinds = {type(block.mixer).__name__ for block in model.blocks}
    unbounded = any(
        getattr(block.mixer, "window", None) is None for block in model.blocks if hasattr(block.mixer, "heads")
    )
    assert grows_with_context(model) == (("Attention" in kinds and unbounded) or model.max_positions is not None)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 5, 23])
def test_the_state_has_the_size_that_the_model_declares(make_model, architecture, length):
    model = make_model(architecture)
    assert all(block.mixer.state_size(length) is not None for block in model.blocks)
    state = model(torch.zeros(1, length, dtype=torch.int64)).state
    assert state_bytes(model, length) == size_in_bytes(state)


def test_sizes_are_the_same_on_the_meta_device_and_leave_the_mode_alone(make_model, architecture):
    model = make_model(architecture).train()
    with torch.device("meta"):
        described = describe_sizes(make_model(architecture).train(), 6)
    assert described == describe_sizes(model, 6)
    assert model.training
