import os
import threading
from pathlib import Path

import pytest
import torch

from lmlab.errors import UserError
from lmlab.training import threads as module
from lmlab.training.threads import (
    CONTENDED,
    FREE,
    NAME,
    PATIENCE,
    Contention,
    Idle,
    check_threads,
    share_cores,
    use_threads,
)


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
    monkeypatch.setattr(module, "share_cores", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, value in (("OMP_NUM_THREADS", limit), ("RAYON_NUM_THREADS", "7")):
        monkeypatch.setenv(name, value or "")
    use_threads(threads, processes)
    assert set_to == [used]
    assert os.environ["RAYON_NUM_THREADS"] == ("7" if threads is None else str(threads))


TASKS = Path("/proc/self/task")


def test_cores_are_shared_from_the_first_wait_on_until_there_was_none_for_a_while():
    contention = Contention()
    assert not contention.update(0.0) and not contention.update(CONTENDED - 0.001)
    assert contention.update(CONTENDED)
    assert all(contention.update(FREE / 2) for _ in range(PATIENCE - 1))
    assert contention.update(FREE)  # and the patience begins anew
    assert all(contention.update(0.0) for _ in range(PATIENCE - 1))
    assert not contention.update(0.0)


@pytest.mark.skipif(not TASKS.exists(), reason="needs Linux")
def test_idle_threads_are_more_than_there_are_cores_and_end(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    idle = Idle()
    idle.set(False)
    assert idle.holding == []
    idle.set(True)
    holding = idle.holding
    assert len(holding) == 2  # each with two more
    idle.set(True)
    assert idle.holding is holding and all(thread.is_alive() for thread in holding)
    idle.set(False)
    for thread in holding:
        thread.join(60)
    assert idle.holding == [] and not any(thread.is_alive() for thread in holding)


@pytest.mark.parametrize(("threads", "variable"), [(1, None), (2, "GOMP_SPINCOUNT"), (2, "OMP_WAIT_POLICY")])
def test_nothing_is_watched_where_nothing_spins_or_the_environment_decides(threads, variable, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(module, "NAME", f"{NAME} in a test")
    share_cores()
    assert not any(thread.name == module.NAME for thread in threading.enumerate())


def test_a_single_thread_watches(monkeypatch, tmp_path):
    started = []

    class Recorded(threading.Thread):
        def start(self):
            started.append(self.name)

    monkeypatch.setattr(threading, "Thread", Recorded)
    monkeypatch.setattr(threading, "enumerate", lambda: [Recorded(name=name) for name in started])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    (tmp_path / "schedstat").write_text("1 2 3\n")
    monkeypatch.setattr(module, "WAITING", tmp_path / "schedstat")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    share_cores()
    share_cores()
    assert started == [NAME]
    assert module._waited() == 2e-9
