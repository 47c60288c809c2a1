import json
import math
import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.runs import logged
from lmlab.runs.files import dumps
from lmlab.runs.logged import Log, Logged


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def row(step, **metrics):
    return {"step": step, **{name.replace("_", "/", 1): value for name, value in metrics.items()}, "tokens": step * 8}


def same(first, second):
    return np.array_equal(first.numbers, second.numbers) and all(
        np.array_equal(first.columns[name], second.columns[name], equal_nan=True)
        for name in {*first.columns, *second.columns}
    )


VALUES = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1.0, math.inf, -math.inf, math.nan])
METRICS = st.dictionaries(st.sampled_from(["train/loss", "validation/loss", "time/seconds", "train/late"]), VALUES)
STEPS = st.lists(st.integers(-1, 3), min_size=1, max_size=120)


@settings(max_examples=50)
@given(st.data(), STEPS)
def test_what_is_kept_does_not_depend_on_how_the_file_was_read(data, strides):
    """Not on where reading stopped, with steps that repeat and descend, and metrics that begin in the middle."""
    steps = np.cumsum(strides)
    content = lines([row(int(step)) | data.draw(METRICS) for step in steps])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logged, "ROWS", 24)
        patch.setattr(logged, "FEWEST", 3)
        once = Logged().extended(content)
        parts, each = Logged(), content.split(b"\n")[:-1]
        cuts = sorted(data.draw(st.sets(st.integers(0, len(each)), max_size=6)) | {0, len(each)})
        for start, end in pairwise(cuts):
            parts = parts.extended(b"".join(line + b"\n" for line in each[start:end]))
    assert same(once, parts)
    assert once.marks == parts.marks
    assert (once.lines, once.size) == (parts.lines, parts.size) == (len(each), len(content))


@given(st.lists(METRICS, max_size=8))
def test_numbers_that_are_not_finite_are_read_as_they_are_written_now_and_were_before(rows):
    rows = [row(step) | metrics for step, metrics in enumerate(rows)]
    before = Logged().extended(lines(rows))
    now = Logged().extended("".join(dumps(one) + "\n" for one in rows).encode())
    assert same(before, now)
    assert before.marks == now.marks


def test_the_first_repeated_step_may_be_step_0():
    parts = Logged()
    for step in (0, 0, 1, 1):
        parts = parts.extended(lines([row(step, train_loss=1.0)]))
    assert (parts.marks.repeated, parts.marks.first_repeated) == (2, 0)


@settings(max_examples=50)
@given(st.lists(VALUES, min_size=1, max_size=300))
def test_the_extremes_of_every_stretch_are_kept_and_no_more(values):
    """Against the rule itself, one stretch after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logged, "ROWS", 24)
        patch.setattr(logged, "FEWEST", 4)
        found = Logged().extended(lines(row(step, train_loss=value) for step, value in enumerate(values)))
    known = {number: value for number, value in enumerate(values) if not math.isnan(value)}
    k = 0
    while len({number >> k for number in known}) > 24 // 2:
        k += 1
    expected = {0, len(values) - 1} | ({min(known), max(known)} if known else set())
    for stretch in {number >> k for number in known}:
        inside = [number for number in known if number >> k == stretch]
        expected |= {min(inside, key=lambda n: (known[n], n)), min(inside, key=lambda n: (-known[n], n))}
    assert found.numbers.tolist() == sorted(expected)
    assert np.array_equal(found.columns["train/loss"], [values[n] for n in found.numbers], equal_nan=True)
    assert len(found.numbers) <= 24 + 4


def test_rare_metrics_are_kept_whole_and_the_size_does_not_depend_on_how_much_was_logged():
    def of(count):
        draw = np.random.default_rng(0)
        rows = []
        for step in range(count):
            rows.append(row(step, train_loss=draw.random(), train_norm=draw.random(), time_seconds=step / 7))
            if step % (count // 100) == 0:
                rows.append(row(step, validation_loss=draw.random()))
        return Logged().extended(lines(rows))

    sizes = {count: len(of(count).numbers) for count in (8_000, 32_000)}
    assert max(sizes.values()) <= logged.ROWS + 2 * 4
    assert np.sum(~np.isnan(of(32_000).columns["validation/loss"])) == 100


def test_rows_that_are_none_are_left_out_and_counted():
    content = lines([row(1, train_loss=1.0)]) + b'{"step": 2, "lo\n' + os.urandom(50).replace(b"\n", b"") + b"\n"
    content += (
        b'\n[1]\n{"train/loss": 3}\n{"step": 1, "tokens": null, "train/loss": 1}\n{"step": 3, "tokens": 9, "x": "y"}\n'
    )
    content += b'{"step": 4, "tokens": 9, "x": ' + b"9" * 400 + b"}\n"
    content += b'{"a": 1}, {"b": 2}\n' + lines([row(5, train_loss=2.0, longer_loss=1)])
    found = Logged().extended(content)
    assert found.columns["step"].tolist() == [1, 5]
    assert (found.marks.broken, found.marks.first_broken, found.lines) == (9, 2, 11)
    assert np.array_equal(found.columns["longer/loss"], [np.nan, 1], equal_nan=True)


def test_a_step_counts_once_for_each_metric_and_what_is_not_finite_is_noted():
    rows = [row(1, train_loss=1.0), row(2, train_loss=2.0, time_seconds=1), row(2, validation_loss=9.0, time_seconds=1)]
    rows += [row(1, train_loss=8.0), row(2, train_loss=8.0), row(3, train_loss=math.nan), row(4, train_loss=math.inf)]
    found = Logged().extended(lines(rows))
    assert found.columns["step"].tolist() == [1, 2, 2, 4]
    assert np.array_equal(found.columns["train/loss"], [1, 2, np.nan, np.inf], equal_nan=True)
    assert (found.marks.repeated, found.marks.first_repeated) == (2, 1)
    assert found.marks.not_finite == {"train/loss": (2, 3)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "runs" / "lstm" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(lines(row(step, train_loss=1 / step) for step in range(1, 50)))
    return path


def test_a_file_is_read_on_from_where_reading_stopped(file, monkeypatch):
    read = []
    extended = Logged.extended
    monkeypatch.setattr(Logged, "extended", lambda self, content: read.append(len(content)) or extended(self, content))
    growing = Log(file)
    assert growing.read() and not growing.read()
    more = lines([row(50, train_loss=0.5)])
    with file.open("ab") as out:
        out.write(more[:20])
    assert growing.read() and growing.cut_short and growing.logged.lines == 49
    assert any("cut short" in problem for problem in growing.problems())
    assert not growing.problems(growing=True)
    with file.open("ab") as out:
        out.write(more[20:])
    assert growing.read() and growing.logged.lines == 50 and not growing.problems()
    assert read[1:] == [len(more)]


def test_a_file_in_its_place_is_read_from_its_start(file):
    growing = Log(file)
    growing.read()
    other = file.with_name("other")
    other.write_bytes(lines(row(step, train_loss=2 / step) for step in range(1, 80)))
    other.replace(file)
    assert growing.read() and growing.logged.lines == 79
    assert growing.logged.columns["train/loss"][0] == 2.0
    file.unlink()
    assert growing.read() and growing.problems() == ["metrics.jsonl is missing"] and not growing.problems(growing=True)
    assert not growing.read() and not len(growing.logged.numbers)


@pytest.fixture
def finished(file):
    """A log with rows that are broken and not finite, and what was kept of it."""
    file.write_bytes(file.read_bytes() + b"junk\n" + lines([row(60, train_loss=math.nan)]))
    Log(file).write_curves()
    return file, file.with_name("curves.npz")


def test_what_a_finished_run_kept_is_read_in_place_of_its_log(finished, monkeypatch):
    file, _ = finished
    expected = Logged().extended(file.read_bytes())
    monkeypatch.setattr(Log, "_read_on", None)
    log = Log(file)
    assert log.read() and not log.read()
    assert same(log.logged, expected) and log.logged.marks == expected.marks
    assert len(log.problems()) == 2


def test_numpy_reads_what_a_finished_run_kept(finished):
    file, curves = finished
    expected = Logged().extended(file.read_bytes())
    with np.load(curves) as archive:
        names = json.loads(archive["about.json"])["names"]
        assert np.array_equal(archive["values"][1 + names.index("train/loss")], expected.columns["train/loss"], True)


@settings(max_examples=30)
@given(st.data())
def test_whatever_happens_to_what_was_kept_the_log_counts(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    file.write_bytes(lines(row(step, train_loss=1 / step) for step in range(1, 50)))
    Log(file).write_curves()
    curves, expected = file.with_name("curves.npz"), Logged().extended(file.read_bytes())
    content = bytearray(curves.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    curves.write_bytes(content)
    log = Log(file)
    assert log.read() and same(log.logged, expected)


@pytest.mark.parametrize("change", ["more rows", "another time", "no log"])
def test_what_was_kept_of_another_state_of_the_log_is_not_read(finished, change):
    file, curves = finished
    log = Log(file)
    if change == "more rows":
        with file.open("ab") as out:
            out.write(lines([row(70, train_loss=3.0)]))
        os.utime(curves, ns=(file.stat().st_mtime_ns,) * 2)
        assert log.read() and log.logged.columns["step"][-1] == 70
    elif change == "another time":
        file.write_bytes(file.read_bytes().replace(b": 1.0", b": 9.0"))
        os.utime(curves, ns=(file.stat().st_mtime_ns - 1,) * 2)
        assert log.read() and log.logged.columns["train/loss"][0] == 9.0
    else:
        file.unlink()
        assert log.read() and log.problems() == ["metrics.jsonl is missing"]


def test_a_finished_log_that_grows_is_read_on(finished):
    file, _ = finished
    log = Log(file)
    log.read()
    with file.open("ab") as out:
        out.write(lines([row(70, train_loss=3.0)]))
    assert log.read() and same(log.logged, Logged().extended(file.read_bytes()))
