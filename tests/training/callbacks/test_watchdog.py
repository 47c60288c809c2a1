import multiprocessing
import signal
import time
from types import SimpleNamespace

import pytest

from lmlab.errors import UserError
from lmlab.processes.stacks import hung
from lmlab.runs.run import Run
from lmlab.training.callbacks import Watchdog, watchdog

RANK: object = SimpleNamespace(global_rank=3)


def outcome(run, function, seconds=1.5):
    """The exit code of a process of its own that calls ``function(watchdog)``, and what it left."""
    process = multiprocessing.get_context("fork").Process(target=function, args=(Watchdog(run, seconds=seconds),))
    process.start()
    process.join(timeout=60)
    return process.exitcode, hung(run)


def hangs_with_the_interpreters_lock(dog):
    dog.setup(RANK, None, "fit")
    dog.on_train_batch_end(RANK, None, None, None, 0)
    _ = (7**9_000_000) ** 60


def makes_progress(dog):
    dog.setup(RANK, None, "fit")
    time.sleep(4.0)
    for batch in range(10):
        dog.on_train_batch_end(RANK, None, None, None, batch)
        time.sleep(0.4)
    for _ in range(10):
        dog.wait()  # for data
        time.sleep(0.4)
    dog.on_validation_start(RANK, None)
    time.sleep(4.0)
    dog.on_validation_batch_end(RANK, None, None, None, 0)
    dog.teardown(RANK, None, "fit")
    time.sleep(4.0)


def is_slow_once(dog):
    dog.setup(RANK, None, "fit")
    dog.on_train_batch_end(RANK, None, None, None, 0)
    deadline = time.monotonic() + 60
    while hung(dog.run) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert hung(dog.run) is not None
    dog.on_train_batch_end(RANK, None, None, None, 1)
    assert hung(dog.run) is None
    dog.on_exception(RANK, None, ValueError())


@pytest.mark.slow
def test_one_that_hangs_in_c_code_with_the_interpreters_lock_is_ended(tmp_path):
    """Neither a Python thread nor a signal handler would get a turn."""
    code, said = outcome(Run(tmp_path), hangs_with_the_interpreters_lock)
    assert code == -signal.SIGALRM
    assert said.startswith("rank 3 made no progress for 0:00:01.500000 (rank 3 was in hangs_with_the_interpreters_lock")


@pytest.mark.slow
def test_batches_that_end_keep_it_quiet_and_a_first_batch_may_take_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "SECONDS_TO_DUMP", 0.5)
    assert outcome(Run(tmp_path), makes_progress, seconds=3.0) == (0, None)


@pytest.mark.slow
def test_one_that_was_only_slow_goes_on_and_leaves_no_stacks(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "SECONDS_TO_DUMP", 60.0)  # a busy machine may need long to notice
    assert outcome(Run(tmp_path), is_slow_once) == (0, None)
    assert not list((tmp_path / "stacks").iterdir())


def test_no_time_at_all_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"callbacks\.watchdog\.seconds=0: expected more than 0"):
        Watchdog(Run(tmp_path), seconds=0)
