import os

import pytest
import torch

from lmlab.errors import UserError
from lmlab.training import spinning
from lmlab.training.threads import check_threads, use_threads


@pytest.mark.parametrize(("threads", "nearest"), [(0, 1), (-3, 1), (10**6, 1024)])
def test_a_number_of_threads_that_cannot_be_is_refused(threads, nearest):
    with pytest.raises(UserError, match=rf"trainer\.threads={threads}: expected .* \(nearest: {nearest}\)"):
        check_threads(threads, "trainer.threads")


@pytest.mark.parametrize(
    ("threads", "processes", "limit", "used"),
    [(3, 1, None, 3), (None, 1, None, 8), (None, 3, None, 2), (None, 1, "5", 5)],
)
def test_a_process_has_as_many_threads_as_it_is_given_or_its_share_of_the_cores(
    threads, processes, limit, used, monkeypatch
):
    set_to = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(spinning, "share_cores", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, value in (("OMP_NUM_THREADS", limit), ("RAYON_NUM_THREADS", "7")):
        monkeypatch.setenv(name, value or "")
    use_threads(threads, processes)
    assert set_to == [used]
    assert os.environ["RAYON_NUM_THREADS"] == ("7" if threads is None else str(threads))
