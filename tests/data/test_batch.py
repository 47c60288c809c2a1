import pytest
import torch

from lmlab.data.batch import Batch


@pytest.mark.parametrize(("rows", "number"), [(4, 1), (4, 2), (5, 3), (2, 4)])
def test_pieces_score_every_row_once_in_as_many_parts_as_asked_for(rows, number):
    batch = Batch(torch.arange(rows * 3).view(rows, 3), torch.arange(rows * 3).view(rows, 3))
    pieces = list(batch.pieces(number))
    assert len(pieces) == number
    assert all(piece.tokens.shape == piece.targets.shape and len(piece.tokens) >= 1 for piece in pieces)
    scored = torch.cat([piece.targets[piece.targets >= 0] for piece in pieces])
    assert sorted(scored.tolist()) == list(range(rows * 3))
