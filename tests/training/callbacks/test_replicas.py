import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.training.callbacks.replicas import Replicas, checksum, difference

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_one_bit_changes_the_checksum(dtype):
    tensor = torch.randn(6, 5).to(dtype)
    before = checksum(tensor)
    raw = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    raw = raw.view(torch.uint8)
    for bit in range(1 if dtype == torch.bool else 8):
        for index in (0, 13, -1):
            raw.view(-1)[index] ^= 1 << bit
            assert checksum(tensor) != before
            raw.view(-1)[index] ^= 1 << bit
    assert checksum(tensor) == before


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.randoms())
def test_the_checksum_is_the_sum_of_the_bits_in_any_order(values, random):
    tensor = torch.tensor(values)
    expected = sum(int(bits) for bits in tensor.view(torch.int32).tolist())
    assert int(checksum(tensor)) == expected
    shuffled = torch.tensor([float(value) for value in tensor[torch.randperm(len(values))]])
    assert int(checksum(shuffled)) == expected or bool(tensor.isnan().any())


def test_the_checksum_of_a_transposed_view_and_of_an_empty_tensor():
    tensor = torch.randn(4, 6)
    assert checksum(tensor.T) == checksum(tensor)
    assert checksum(tensor[:, ::2]) == checksum(tensor[:, ::2].clone())
    assert checksum(torch.empty(0)) == 0


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([{"a": 1, "b": 2}] * 3, None),
        ([{"a": 1, "b": 2}, {"a": 1, "b": 3}], "rank 1 differs from rank 0, first in b"),
        ([{"a": 9, "b": 9}, {"a": 1, "b": 2}, {"a": 1, "b": 2}], "rank 0 differs from rank 1, first in a"),
        ([{"a": 1}, {"a": 2}, {"a": 1}, {"a": 3}, {"a": 1}], "ranks 1, 3 differ from rank 0, first in a"),
        ([{"a": 1}, {"a": 1, "b": 2}], "rank 1 differs from rank 0, first in b"),
    ],
)
def test_the_ranks_that_differ_from_most_are_named(states, expected):
    assert difference(states) == expected


def test_never_is_said_otherwise():
    with pytest.raises(UserError, match=r"callbacks\.replicas\.every=0: expected at least 1 step"):
        Replicas(every=0)
