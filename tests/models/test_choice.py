"""Options after a prompt against the scores of whole texts."""

import pytest
import torch

from lmlab.models.choice import score_options
from lmlab.models.likelihood import score

CONTEXT = 8
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11, 12, 1, 2], [3, 3, 3], [1, 2, 3, 4, 5, 6]]
OPTIONS = [[[1], [2], [3, 4, 5]], [[7, 7], [8]], [[1, 2, 3, 4], [5]], [[0]], [[9, 8, 7, 6, 5], [9], [9, 8]]]


def test_options_are_as_probable_as_in_whole_texts(make_model, shipped):
    """Prompts and options of unequal length, also beyond the context, where positions may begin anew."""
    model = make_model(shipped, dtype=torch.float64, context=CONTEXT)
    texts = [prompt + option for prompt, several in zip(PROMPTS, OPTIONS, strict=True) for option in several]
    begins = [len(prompt) for prompt, several in zip(PROMPTS, OPTIONS, strict=True) for _ in several]
    expected = [one.log_prob for one in score(model, texts, CONTEXT, begins)]
    for batch_size in (1, 7, 64):
        scored = score_options(model, PROMPTS, OPTIONS, CONTEXT, batch_size)
        assert list(map(len, scored)) == list(map(len, OPTIONS))
        assert [each for several in scored for each in several] == pytest.approx(expected, abs=1e-9)


def test_a_prompt_is_read_once_for_all_of_its_options(make_model):
    model = make_model("model=transformer", "model.dropout=0.5").train()
    shapes = []
    model.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    score_options(model, [[1, 2, 3, 4], [5, 6]], [[[1, 2, 3], [4, 5]], [[1], [2]]], 24)
    assert model.training
    # Both prompts up to the end of the shorter, whose options have one token; the rest of the longer; its options.
    assert shapes == [(2, 2), (1, 2), (2, 2)]
    assert score_options(model, [], [], 24) == []
