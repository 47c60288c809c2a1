import dataclasses
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from processes import wait_until

from lmlab.runs import lock
from lmlab.runs.lock import Owner, is_held, take

CONTENDER = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    from lmlab.runs.lock import take
    folder, flock, times = Path(sys.argv[1]), sys.argv[2] == "flock", int(sys.argv[3])
    while times:
        held = take(folder, flock=flock, beat=0.05, limit=1.0)
        if held is None:
            time.sleep(0.0005)
            continue
        inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL)  # fails if another one is inside
        time.sleep(0.0005)
        os.close(inside)
        os.unlink(folder / "inside")
        with (folder / "taken").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        held.release()
        times -= 1
""")


def forge(folder, age, **fields):
    """The record of an owner on another machine, last touched ``age`` seconds ago."""
    folder.mkdir(exist_ok=True)
    there = dataclasses.replace(Owner.here(), **({"host": "elsewhere", "machine": "another start 4711"} | fields))
    path = folder / f"owner.{len(list(folder.glob('owner.*'))) + 1}.json"
    path.write_text(json.dumps(dataclasses.asdict(there)))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.mark.parametrize("flock", [True, False])
def test_held_until_released(tmp_path, flock):
    held = take(tmp_path, flock=flock)
    assert take(tmp_path, flock=flock) is None
    assert is_held(tmp_path, flock=flock)
    held.release()
    assert not is_held(tmp_path, flock=flock)
    take(tmp_path, flock=flock).release()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flock", "records"])
def test_of_many_processes_never_two_are_inside(tmp_path, kind):
    started = [
        subprocess.Popen([sys.executable, "-c", CONTENDER, str(tmp_path), kind, "50"], stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    for process in started:
        assert process.wait(timeout=100) == 0, process.stderr.read().decode()
    taken = (tmp_path / "taken").read_text().splitlines()
    assert len(taken) == 8 * 50 and len(set(taken)) == 8
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["owner.400.json"]


@pytest.mark.slow
def test_contenders_for_an_abandoned_record_are_never_two_inside(tmp_path):
    forge(tmp_path, age=10)
    started = [
        subprocess.Popen([sys.executable, "-c", CONTENDER, str(tmp_path), "records", "10"], stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    for process in started:
        assert process.wait(timeout=100) == 0, process.stderr.read().decode()
    assert len((tmp_path / "taken").read_text().splitlines()) == 60


@pytest.mark.parametrize("flock", [True, False])
def test_another_machine_holds_it_as_long_as_its_record_is_young(tmp_path, flock):
    path = forge(tmp_path, age=lock.LIMIT - 20)
    assert is_held(tmp_path, flock=flock)
    assert take(tmp_path, flock=flock) is None
    assert str(lock.owner(tmp_path)).startswith(f"pid {os.getpid()} on elsewhere since ")
    os.utime(path, (time.time() - lock.LIMIT - 1,) * 2)
    assert not is_held(tmp_path, flock=flock)
    take(tmp_path, flock=flock).release()
    assert not path.exists()


def test_age_is_measured_by_the_clock_of_the_file_system(tmp_path, monkeypatch):
    forge(tmp_path, age=0)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert is_held(tmp_path)


@pytest.mark.parametrize(
    ("fields", "held"),
    [({}, True), ({"began": "1"}, False), ({"pid": 2**22 + 1}, False)],
    ids=["lives", "its number went to another process", "gone"],
)
def test_on_this_machine_the_process_decides_and_not_the_age(tmp_path, fields, held):
    here = {"host": Owner.here().host, "machine": Owner.here().machine}
    forge(tmp_path, age=0 if not held else 10 * lock.LIMIT, **here, **fields)
    assert is_held(tmp_path, flock=False) == held


@pytest.mark.slow
def test_a_killed_owner_frees_it_at_once_without_flock(tmp_path):
    code = "import sys; from pathlib import Path; from lmlab.runs.lock import take\n"
    code += "held = take(Path(sys.argv[1]), flock=False); print('mine', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "mine\n"
    assert take(tmp_path, flock=False) is None
    process.kill()
    deadline = time.monotonic() + 30
    while is_held(tmp_path, flock=False):  # not even waited for: a zombie holds nothing
        assert time.monotonic() < deadline
    process.wait()
    take(tmp_path, flock=False).release()


def test_the_owner_keeps_its_record_young(tmp_path):
    held = take(tmp_path, flock=False, beat=0.05)
    (path,) = tmp_path.glob("owner.*")
    os.utime(path, (0, 0))
    deadline = time.monotonic() + 30
    while path.stat().st_mtime == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not held.lost
    held.release()


@pytest.mark.slow
def test_an_owner_that_was_away_too_long_learns_that_it_lost_and_disturbs_nobody(tmp_path):
    """Suspended, it is taken for gone; it must not free the lock of its successor when it comes back."""
    code = "import sys; from pathlib import Path; from lmlab.runs.lock import take\n"
    code += "held = take(Path(sys.argv[1]), flock=False, beat=0.05); print('mine', flush=True); input()\n"
    code += "import time\nwhile not held.lost: time.sleep(0.01)\n"
    code += "held.release(); print('lost', flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "mine\n"
    process.send_signal(signal.SIGSTOP)
    stats = list(Path(f"/proc/{process.pid}/task").glob("*/stat"))
    wait_until(lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats), "it goes on")
    (path,) = tmp_path.glob("owner.*")
    fields = json.loads(path.read_text()) | {"machine": "another start 4711"}
    path.write_text(json.dumps(fields))
    os.utime(path, (0, 0))
    held = take(tmp_path, flock=False)
    process.send_signal(signal.SIGCONT)
    assert process.communicate("\n", timeout=100)[0] == "lost\n"
    assert is_held(tmp_path, flock=False)
    held.release()


def test_a_file_system_without_locks_has_the_records(tmp_path, monkeypatch):
    def refuse(file, kind):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    held = take(tmp_path)
    assert is_held(tmp_path) and take(tmp_path) is None
    held.release()
    assert not is_held(tmp_path)


def test_a_record_that_is_just_being_written_is_somebody_s(tmp_path):
    path = tmp_path / "owner.7.json"
    path.write_text('{"host": ')
    assert take(tmp_path) is None
    os.utime(path, (0, 0))
    take(tmp_path).release()
    assert (tmp_path / "owner.8.json").read_text() == "{}"


def test_a_directory_that_was_removed_and_laid_out_anew_is_another(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    real, others = fcntl.flock, []

    def meanwhile(file, kind):
        monkeypatch.setattr(fcntl, "flock", real)
        (folder / "run.lock").unlink()
        folder.rmdir()
        others.append(take(folder))
        real(file, kind)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    assert take(folder) is None
    assert others[0] is not None and is_held(folder)
    others[0].release()
