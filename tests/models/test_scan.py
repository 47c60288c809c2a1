import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lmlab.models import scan as module
from lmlab.models.scan import scan

B = 2


def recurrence(a: torch.Tensor, b: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    steps = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        steps.append(h)
    return torch.stack(steps, 1)


def inputs(T: int, *rest: int) -> list[torch.Tensor]:
    torch.manual_seed(T)
    a, b, w = (torch.randn(B, T, *rest, dtype=torch.float64) for _ in range(3))
    a[:, ::3] = 0  # nothing is to be divided by a product of them
    return [a.requires_grad_(), b.requires_grad_(), torch.randn(B, *rest, dtype=torch.float64).requires_grad_(), w]


@pytest.mark.parametrize("large_step", [1, 1 << 30], ids=["one chunk", "chunks"])
@given(T=st.integers(1, 70), rest=st.sampled_from([(3,), (2, 2), ()]))
@settings(max_examples=20, deadline=None)
def test_states_and_gradients_are_those_of_the_loop_at_any_length(large_step, T, rest):
    *leaves, w = inputs(T, *rest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LARGE_STEP", large_step)
        found, expected = scan(*leaves), recurrence(*leaves)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        pairs = zip(
            torch.autograd.grad((found * w).sum(), leaves),
            torch.autograd.grad((expected * w).sum(), leaves),
            strict=True,
        )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("T", [1, 2, 7, 13])
def test_gradients_are_the_limits_of_differences(T):
    assert torch.autograd.gradcheck(scan, inputs(T, 2)[:3])


def test_views_are_read_in_place_and_left_alone():
    wide = torch.randn(B, 6, 20, dtype=torch.float64).mT  # time is the inner dimension
    a, b = wide.chunk(2, -1)
    h = torch.randn(3, dtype=torch.float64).expand(B, 3)
    before = wide.clone()
    torch.testing.assert_close(scan(a, b, h), recurrence(a, b, h))
    assert torch.equal(wide, before)


@pytest.mark.parametrize("T", [100, 900, 2500])
def test_the_number_of_operations_grows_with_the_root_of_the_length(T):
    counted: Counter[str] = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            counted[function.overloadpacket.__name__] += 1
            return function(*args, **(kwargs or {}))

    a, b, h = torch.rand(1, T, 1), torch.rand(1, T, 1), torch.rand(1, 1)
    with Count():
        scan(a, b, h)
    assert counted["addcmul"] + counted["addcmul_"] + counted["mul"] <= 4 * math.sqrt(T)


def test_it_has_a_shape_where_there_are_no_numbers():
    a = torch.empty(2, 700, 5, device="meta", requires_grad=True)
    h = scan(a, a, torch.empty(2, 5, device="meta"))
    h.sum().backward()
    assert h.shape == a.grad.shape == (2, 700, 5)
