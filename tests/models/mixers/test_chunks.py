import pytest
import torch

from lmlab.models.mixers.chunks import chunks, into_chunks, segment_sums


@pytest.mark.parametrize("longest", [1, 3, 8, 64])
@pytest.mark.parametrize("length", [1, 2, 8, 9, 64, 65, 100])
def test_chunks_hold_every_token_and_hardly_more(length, longest):
    count, each = chunks(length, longest)
    assert each <= longest and length <= count * each < length + count
    x = torch.arange(1, length + 1)[None, :, None].expand(2, length, 3)
    flat = into_chunks(x, longest).flatten(1, 2)
    assert torch.equal(flat[:, :length], x) and flat[:, length:].count_nonzero() == 0


def test_segment_sums_are_sums_over_segments():
    a = torch.randn(2, 6, dtype=torch.float64)
    sums = segment_sums(a)
    for i in range(6):
        for j in range(6):
            expected = a[:, j + 1 : i + 1].sum(1) if j <= i else torch.full((2,), -torch.inf, dtype=torch.float64)
            torch.testing.assert_close(sums[:, i, j], expected)


def test_a_small_segment_after_a_large_one_keeps_its_digits():
    a = torch.tensor([-1e8, -1e-4, -1e-4])
    assert segment_sums(a)[2, 0].item() == pytest.approx(-2e-4, rel=1e-6)
