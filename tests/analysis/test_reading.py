import json
import os
import signal

import pytest

from lmlab.analysis import log, reading
from lmlab.analysis.logged import Logged
from lmlab.analysis.reading import read_curves
from lmlab.analysis.records import Record
from lmlab.runs.run import Run


def record_of(folder, number, cache, rows=50):
    run = Run(folder / f"run-{number}")
    run.path.mkdir()
    lines = [{"step": step, "train/loss": number / step, "tokens": 8 * step} for step in range(1, rows + 1)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Record(run, {"id": str(number), "name": "lstm", "metrics": {}, "attempts": []}, {}, "finished", cache)


@pytest.fixture
def here(monkeypatch):
    """Bytes that this process takes in, a number for each reading."""
    monkeypatch.setattr(reading, "MUCH", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    read, extended = [], Logged.extended
    monkeypatch.setattr(Logged, "extended", lambda self, content: read.append(len(content)) or extended(self, content))
    return read


def losses(records):
    return [record.curves.columns["train/loss"].tolist() for record in records]


def test_other_processes_read_what_is_much_and_nobody_reads_it_again(tmp_path, here):
    records = [record_of(tmp_path, number, tmp_path / "cache", 4000) for number in range(1, 4)]
    assert all(record.log.unread() == record.run.metrics.stat().st_size > log.WORTH_KEEPING for record in records)
    read_curves(records)
    assert here == [] and not any(record.log.unread() for record in records)
    again = [record_of_same(record) for record in records]
    assert not any(record.log.unread() for record in again)
    read_curves(again)
    assert here == [] and losses(again) == losses(records)
    alone = [record_of_same(record, cache=None) for record in records]
    read_curves(alone)
    assert len(here) == 3 and losses(alone) == losses(records)


def record_of_same(record, cache=...):
    return Record(record.run, record.manifest, {}, "finished", record.cache if cache is ... else cache)


def test_what_has_been_logged_since_is_all_that_is_unread(tmp_path):
    record = record_of(tmp_path, 1, tmp_path / "cache", 4000)
    read_curves([record])
    more = json.dumps({"step": 4001, "train/loss": 0.5, "tokens": 1}) + "\n"
    with record.run.metrics.open("a") as file:
        file.write(more)
    assert record.log.unread() == record_of_same(record).log.unread() == len(more)
    record.run.metrics.unlink()
    assert record.log.unread() == 0


def test_what_would_not_be_kept_is_not_read_elsewhere(tmp_path, here, monkeypatch):
    monkeypatch.setattr(reading, "_keep_all", lambda *arguments: pytest.fail("read twice"))
    read_curves([record_of(tmp_path, number, tmp_path / "cache") for number in range(1, 4)])
    assert len(here) == 3


def test_what_the_others_fail_at_is_read_here(tmp_path, here, monkeypatch):
    records = [record_of(tmp_path, number, tmp_path / "cache", 4000) for number in range(1, 4)]
    (tmp_path / "cache").write_text("no folder")
    read_curves(records)
    assert len(here) == 3 and all(len(one) > 1 for one in losses(records))


def test_a_process_that_is_killed_takes_nothing_with_it(tmp_path, here, monkeypatch):
    records = [record_of(tmp_path, number, tmp_path / "cache", 4000) for number in range(1, 4)]
    monkeypatch.setattr(reading, "_keep", _die)
    read_curves(records)
    assert len(here) == 3 and all(len(one) > 1 for one in losses(records))


def _die(path, cache):
    os.kill(os.getpid(), signal.SIGKILL)
