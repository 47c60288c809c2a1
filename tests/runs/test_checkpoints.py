import errno
import json
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.runs import checkpoints
from lmlab.runs.checkpoints import (
    BEST,
    STATE,
    Damaged,
    begin,
    complete,
    newest_good,
    place,
    restore_best,
    saved,
    temporary,
    verify,
)
from lmlab.runs.files import write_whole


def write(folder, step, previous=0, shards=None):
    """A checkpoint of ``step``: one file, or a folder of ``shards``."""
    begin(folder, step)
    state = temporary(folder, step) / STATE
    if shards is None:
        state.write_bytes(f"the state at {step}".encode() * 10)
    else:
        state.mkdir()
        for name, content in shards.items():
            (state / name).write_bytes(content)
    complete(folder, step, previous, step)
    return place(folder, step)


@given(
    steps=st.sets(st.integers(1, 30), min_size=1),
    keep=st.none() | st.integers(2, 6),
    goes_on_from=st.integers(0, 30),
)
def test_the_newest_usable_checkpoints_are_kept(steps, keep, goes_on_from, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "checkpoints"
    for step in steps:
        place(folder, step).mkdir(parents=True)
    previous = max((step for step in steps if step <= goes_on_from), default=0)
    begin(folder, 31)
    (temporary(folder, 31) / STATE).write_bytes(b"x")
    complete(folder, 31, previous, 31, keep)
    usable = [*sorted(step for step in steps if step <= previous), 31]
    assert list(saved(folder)) == (usable if keep is None else usable[-keep:])
    assert previous == 0 or previous in saved(folder)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def found(folder):
    lines = []
    good = newest_good(folder, lines.append)
    return good and (good.step, good.state), lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "checkpoints"
    return write(folder, 7, shards={"__0_0.distcp": bytes(range(200)), "__1_0.distcp": b"x", ".metadata": b"\n" * 9})


@given(data=st.data())
def test_any_flipped_byte_is_detected(whole, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped") / "checkpoints"
    path = shutil.copytree(whole.parent, folder) / whole.name
    verify(path)
    victim = data.draw(st.sampled_from([file for file in files(path) if file.name != checkpoints.CHECKSUMS]))
    content = bytearray(victim.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    victim.write_bytes(content)
    with pytest.raises(Damaged, match=victim.name):
        verify(path)


@given(data=st.data())
def test_any_truncation_and_any_missing_file_is_detected(whole, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut") / "checkpoints"
    path = shutil.copytree(whole.parent, folder) / whole.name
    victim = data.draw(st.sampled_from(files(path)))
    if data.draw(st.booleans()):
        victim.unlink()
    else:
        content = victim.read_bytes().rstrip(b"\n") or b"\n"  # the last end of line of the checksums says nothing
        victim.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(Damaged, match=victim.name):
        verify(path)


@given(data=st.data())
def test_damaged_checksums_are_no_reason_to_trust_other_files(whole, tmp_path_factory, data):
    """A flipped byte there is detected, or it changes nothing of what the checksums say."""
    folder = tmp_path_factory.mktemp("checksums") / "checkpoints"
    path = shutil.copytree(whole.parent, folder) / whole.name
    victim = path / checkpoints.CHECKSUMS
    content = bytearray(victim.read_bytes())
    index = data.draw(st.integers(0, len(content) - 1))
    before = content[index]
    content[index] ^= data.draw(st.integers(1, 255))
    victim.write_bytes(content)
    try:
        verify(path)
    except Damaged:
        return
    assert chr(before).isspace() and chr(content[index]).isspace()


def test_the_last_two_are_kept_and_the_newest_is_found(tmp_path):
    assert found(tmp_path / "absent") == (None, [])
    for previous, step in ((0, 5), (5, 10), (10, 123_456_789)):
        write(tmp_path, step, previous)
    assert list(saved(tmp_path)) == [10, 123_456_789]
    assert found(tmp_path) == ((123_456_789, tmp_path / "step-123456789" / STATE), [])


def test_the_one_before_a_damaged_one_is_used_and_then_kept(tmp_path):
    write(tmp_path, 5)
    newest = write(tmp_path, 10, 5)
    (newest / STATE).write_bytes(b"")
    chosen, lines = found(tmp_path)
    assert chosen == (5, tmp_path / "step-00000005" / STATE)
    (line,) = lines
    assert "step-00000010 is damaged: state has 0 bytes instead of 150" in line and "from step-00000005" in line
    write(tmp_path, 8, 5)
    assert list(saved(tmp_path)) == [5, 8], "the damaged one must not count as one of two good ones"


@pytest.mark.parametrize("links", [True, False])
def test_each_has_the_weights_that_were_the_best_then(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    best, lines = tmp_path / BEST, []
    write(tmp_path, 5)
    for step in (10, 15):
        write_whole(best, lambda temporary, step=step: temporary.write_text(f"the best at {step}"))
        kept = write(tmp_path, step, step - 5) / BEST
        assert kept.stat().st_nlink == 1 + links
    restore_best(tmp_path, 15, lines.append)
    assert best.read_text() == "the best at 15" and not list(tmp_path.glob(".*"))
    restore_best(tmp_path, 10, lines.append)
    assert best.read_text() == (place(tmp_path, 10) / BEST).read_text() == "the best at 10" and not lines
    place(tmp_path, 10).rename(tmp_path / "aside")
    older = write(tmp_path, 10)  # with the same best
    about = json.loads((older / checkpoints.CHECKSUMS).read_text())
    del about["best"]
    (older / checkpoints.CHECKSUMS).write_text(json.dumps(about))
    best.write_text("as an earlier version left it")
    restore_best(tmp_path, 10, lines.append)
    assert best.read_text() == "as an earlier version left it" and not lines


@pytest.mark.parametrize("step", [None, 5])
def test_where_there_were_none_yet_there_are_none_again(tmp_path, step):
    write(tmp_path, 5)
    (tmp_path / BEST).write_text("of a stretch that is discarded")
    restore_best(tmp_path, step, pytest.fail)
    assert not (tmp_path / BEST).exists()


def test_damaged_best_weights_are_no_reason_not_to_go_on(tmp_path):
    (tmp_path / BEST).write_text("the best")
    for step in (5, 10):
        write(tmp_path, step, step - 5)
    (tmp_path / BEST).write_text("the bent")  # which is that of both checkpoints as well
    assert found(tmp_path) == ((10, place(tmp_path, 10) / STATE), [])
    lines = []
    restore_best(tmp_path, 10, lines.append)
    (line,) = lines
    assert line.startswith(f"{tmp_path / BEST}: the best weights so far are damaged") and not (tmp_path / BEST).exists()


def test_a_damaged_one_is_replaced_by_one_of_the_same_step(tmp_path):
    write(tmp_path, 5)
    (write(tmp_path, 10, 5) / STATE).unlink()
    verify(write(tmp_path, 10, 5))
    assert list(saved(tmp_path)) == [5, 10]
    assert not list(tmp_path.glob(".*"))


def test_when_none_is_good_nothing_is_deleted(tmp_path):
    for previous, step in ((0, 5), (5, 10)):
        (write(tmp_path, step, previous) / checkpoints.CHECKSUMS).write_text("{")
    before = files(tmp_path)
    with pytest.raises(UserError, match="step-00000010 is damaged.*step-00000005 is damaged") as refused:
        found(tmp_path)
    assert "\n" not in str(refused.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize("killed_in", ["begin", "saving", "flush", "write_json", "discard", "rename"])
def test_a_writer_that_is_killed_anywhere_leaves_the_checkpoint_before(tmp_path, monkeypatch, killed_in):
    class Killed(BaseException):
        """As SIGKILL: nothing tidies up."""

    def kill(*_):
        raise Killed

    write(tmp_path, 5)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        if killed_in == "rename":
            patched.setattr(type(tmp_path), "rename", kill)
        elif killed_in in ("flush", "write_json", "discard"):
            patched.setattr(checkpoints, killed_in, kill)
        begin(tmp_path, 10)
        if killed_in == "begin":
            kill()
        (temporary(tmp_path, 10) / STATE).write_bytes(b"half")
        if killed_in == "saving":
            kill()
        complete(tmp_path, 10, 5, 10)
    assert found(tmp_path) == ((5, tmp_path / "step-00000005" / STATE), [])
    verify(write(tmp_path, 10, 5))
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000005", "step-00000010"}
