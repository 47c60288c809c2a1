"""Reading many logs for the first time: in as many processes as there are cores, with a bar where it takes long."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from lmlab.analysis.log import WORTH_KEEPING, Log
from lmlab.analysis.records import Record
from lmlab.progress import ProgressBar

MUCH = 1 << 26
"""Bytes from which on several processes take less time than one, although each has to start first."""


def read_curves(records: Sequence[Record], shown: bool = False) -> None:
    """Read what runs have logged, so that it is at hand when it is asked for.

    What other processes read comes back through the records' cache; what would not be kept there is read here.

    Args:
        shown: show a bar, once it has taken two seconds.
    """
    logs = [record.log for record in records]
    sizes = [log.unread() for log in logs]
    elsewhere = [
        (log.path, log.cache, size)
        for log, size in zip(logs, sizes, strict=True)
        if size >= WORTH_KEEPING and log.cache is not None
    ]
    with ProgressBar("Reading the curves", sum(sizes), shown) as bar:
        if sum(size for _, _, size in elsewhere) >= MUCH and len(os.sched_getaffinity(0)) > 1:
            _keep_all(elsewhere, bar)
        for log in logs:
            left = log.unread()
            log.read()
            bar.advance(left)


def _keep_all(logs: Sequence[tuple[Path, Path, int]], bar: ProgressBar) -> None:
    cores = min(len(os.sched_getaffinity(0)), len(logs))
    # Not forked: the libraries here may hold locks that nobody would ever release in the copy.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, spawned, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            reading = {pool.submit(_keep, path, cache): size for path, cache, size in logs}
            for done in as_completed(reading):
                if done.exception() is None:  # else it is read here
                    bar.advance(reading[done])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _keep(path: Path, cache: Path) -> None:
    Log(path, cache).read()
