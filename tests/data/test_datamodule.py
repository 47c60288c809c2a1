from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.datamodule import LanguageDataModule, ScoredBatches
from lmlab.data.source import CorpusSource


@given(st.integers(2, 400), st.integers(1, 20), st.integers(1, 5), st.integers(1, 4), st.none() | st.integers(1, 500))
def test_the_ranks_validate_every_token_once_in_as_many_batches_as_announced(length, context, size, ranks, limit):
    stream = np.arange(length)
    corpus = SimpleNamespace(tokens=lambda split: stream, tokenizer=None, fingerprint="")
    data = LanguageDataModule(CorpusSource(corpus, SimpleNamespace(context=context, batch_size=size), limit))
    scored, announced = [], set()
    for rank in range(ranks):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks)
        batches = ScoredBatches(data, "validation")
        found = list(batches)
        assert len(found) == len(batches)
        announced.add(len(batches))
        scored += [int(token) for batch in found for token in batch.targets.flatten() if token >= 0]
    assert len(announced) == 1, "no rank waits for another"
    assert sorted(scored) == list(range(1, length))[:limit]
