"""Removal of items: under the lock of their run, and each file or folder completely or not at all."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from lmlab.cleaning.find import Item, Kept
from lmlab.errors import UserError
from lmlab.runs import lock
from lmlab.runs.files import discard
from lmlab.runs.run import Run


def remove_items(items: Iterable[Item], removed: Callable[[Item], None] = lambda item: None) -> Iterator[Kept]:
    """Remove items and yield those that could not be removed, with the reason.

    Args:
        items: the items of a run must follow one another.
        removed: called with each removed item.
    """
    for _, group in groupby(enumerate(items), key=lambda pair: pair[1].run or pair[0]):
        together = [item for _, item in group]
        try:
            with _run_lock(together[0].run):
                for item in together:
                    if item.run is not None and item.status not in (None, item.run.status_recorded):
                        raise UserError(f"is {item.run.status_recorded} by now")
                    with _file_lock(item.lock):
                        for path in item.paths:
                            discard(path)
                    removed(item)
        except (UserError, OSError) as error:
            yield Kept(_name(together[0]), _line(error))


@contextmanager
def _run_lock(run: Run | None) -> Iterator[None]:
    """Hold the lock of a run. Raises ``UserError`` if another process holds it, or the run is gone."""
    if run is None:
        yield
        return
    if not run.exists:  # acquiring the lock would create the directory
        raise UserError("is gone already")
    held = run.try_lock()
    if held is None:
        raise UserError(f"is in use by {lock.owner(run.path) or 'another process'}")
    try:
        yield
    finally:
        held.release()


@contextmanager
def _file_lock(path: Path | None) -> Iterator[None]:
    """Hold the lock of a file that other processes lock. Raises ``UserError`` if one of them does."""
    if path is None:
        yield
        return
    from filelock import FileLock, Timeout

    try:
        held = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise UserError("is being prepared by another process") from None
    with held:
        yield


def _line(error: UserError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"
    return str(error)


def _name(item: Item) -> str:
    return item.run.path.name if item.run is not None else item.paths[0].name
