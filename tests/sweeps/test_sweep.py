import json
import multiprocessing
import os
import shutil
import signal
import threading

import pytest

from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.sweeps.sweep import VERSION, Job, Sweep, find_sweep


def begin_and_wait(path, ready):
    sweep = Sweep(path)
    sweep.begin(["-m"], {}, {})
    ready.set()
    signal.pause()


@pytest.fixture
def elsewhere(tmp_path):
    """A process that is at a sweep in ``tmp_path``."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=begin_and_wait, args=(tmp_path / "theirs", ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_who_is_at_a_sweep_holds_it_until_it_ends_or_dies(tmp_path, elsewhere):
    sweep = Sweep(tmp_path / "theirs")
    assert sweep.status == "running"
    with pytest.raises(UserError, match=rf"sweep is already running \(pid {elsewhere.pid} on "):
        Sweep(sweep.path).begin(["-m"], {}, {})
    elsewhere.kill()
    elsewhere.join()
    assert sweep.status == "interrupted"
    sweep.begin(["another command"], {}, {})
    assert sweep.status == "running" and sweep.definition["pid"] == os.getpid()
    assert sweep.definition["command"] == ["-m"], "what it was asked for stays"
    sweep.end("finished")
    assert sweep.status == "finished"
    Sweep(sweep.path).begin(["-m"], {}, {})


def test_a_process_with_the_number_of_a_dead_launcher_is_not_taken_for_it(tmp_path, elsewhere):
    elsewhere.kill()
    elsewhere.join()
    definition = tmp_path / "theirs" / "sweep.json"
    definition.write_text(json.dumps(json.loads(definition.read_text()) | {"pid": os.getpid()}))
    assert Sweep(tmp_path / "theirs").status == "interrupted"


def rewritten(sweep, **changes):
    definition = sweep.path / "sweep.json"
    definition.write_text(json.dumps(json.loads(definition.read_text()) | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["-m", "hydra.callbacks.x._target_=evil.Evil"]},
        {"directory": "/tmp"},
        {"path": "/tmp/elsewhere"},
        {"study": {}},
        {"signature": None},
    ],
)
def test_a_sweep_that_was_changed_is_not_signed_until_its_command_is_given_again(tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    sweep = Sweep(tmp_path / "mine")
    sweep.begin(["-m", "seed=1,2"], {}, {})
    sweep.end("interrupted")
    sweep.check_signed()
    rewritten(sweep, **change)
    with pytest.raises(
        UserError, match=r"mine: its command is not signed by you: .* trust=true, .*: lmlab (train|study)"
    ):
        sweep.check_signed()
    sweep.begin(["-m", "seed=3"], {}, {})
    sweep.end("interrupted")
    assert not sweep.is_signed, "it is still not this user's command"
    command = sweep.definition["command"]
    sweep.begin(command, {}, {})
    sweep.end("interrupted")
    assert sweep.is_signed == (sweep.definition["directory"] == str(tmp_path))


def test_a_sweep_that_this_user_moves_stays_signed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    sweep = Sweep(tmp_path / "here" / "mine")
    sweep.begin(["-m", "seed=1,2"], {}, {})
    sweep.end("interrupted")
    moved = Sweep((tmp_path / "here").rename(tmp_path / "there") / "mine")
    moved.check_signed()
    moved.begin(["-m", "seed=1,2"], {}, {})
    moved.end("interrupted")
    moved.check_signed()


def test_jobs_come_back_as_they_were_written(sweep):
    jobs = [Job(1, ["a=1", "b=2"], "a=1", path="runs/x"), Job(0, ["a=0"], "a=0")]
    jobs[0].end_with(RunFailed("rank 0 died"))
    jobs[1].end_with(Interrupted("told to stop"))
    sweep.write(jobs)
    found = sweep.jobs
    assert [vars(job) for job in found] == [vars(job) for job in reversed(jobs)]
    assert [(job.status, job.error) for job in found] == [("interrupted", "told to stop"), ("failed", "rank 0 died")]


def test_a_reader_never_sees_half_of_the_jobs(sweep):
    jobs = [Job(number, [f"x={number}"] * 50) for number in range(40)]
    sweep.write(jobs)
    stop = threading.Event()
    errors, counts = [], set()

    def read():
        while not stop.is_set():
            try:
                counts.add(len(sweep.jobs))
                assert sweep.status == "running"
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for count in range(1, 40):
        sweep.write(jobs[:count])
    stop.set()
    reader.join()
    assert not errors and len(counts) > 1
    assert not list(sweep.path.glob(".*.tmp"))


def test_sweeps_are_found_by_the_start_of_their_name(tmp_path):
    for name in ("2026-01-01_a", "2026-01-02_b", "2026-01-02_c"):
        sweep = Sweep(tmp_path / name)
        sweep.begin(["-m", "note='a b'"], {}, {})
        sweep.end("finished")
    assert find_sweep("2026-01-01", tmp_path).path.name == "2026-01-01_a"
    assert find_sweep(str(tmp_path / "2026-01-02_b"), tmp_path).path.name == "2026-01-02_b"
    assert find_sweep(None, tmp_path).command == """lmlab train -m 'note='"'"'a b'"'"''"""
    with pytest.raises(UserError, match="ambiguous, it is the start of 2026-01-02_b, 2026-01-02_c"):
        find_sweep("2026-01-02", tmp_path)
    with pytest.raises(UserError, match="did you mean '2026-01-01_a'"):
        find_sweep("2026-01-01_x", tmp_path)
    with pytest.raises(UserError, match="no sweeps"):
        find_sweep(None, tmp_path / "nothing")


def test_a_moved_sweep_finds_its_runs_and_its_folder(tmp_path):
    project = tmp_path / "project"
    runs, elsewhere = project / "outputs" / "runs", tmp_path / "elsewhere"
    for folder in (runs / "inside", tmp_path / "shared" / "outside"):
        folder.mkdir(parents=True)
    sweep = Sweep(project / "outputs" / "sweeps" / "s")
    sweep.begin(["-m"], {}, {})
    definition = json.loads((sweep.path / "sweep.json").read_text())
    (sweep.path / "sweep.json").write_text(json.dumps(definition | {"directory": str(project)}))
    sweep.write(
        [Job(0, [], path=str(runs / "inside")), Job(1, [], path=str(tmp_path / "shared" / "outside")), Job(2, [])]
    )
    sweep.end("finished")
    for place in (elsewhere, tmp_path / "again"):  # begun anew in the first of them
        project = project.rename(place)
        moved = Sweep(place / "outputs" / "sweeps" / "s")
        expected = [str(place / "outputs" / "runs" / "inside"), str(tmp_path / "shared" / "outside"), None]
        assert [job.path for job in moved.jobs] == expected
        assert moved.located(moved.definition["directory"]) == place
        moved.begin(["-m"], {}, {})
        moved.end("finished")
        assert [job.path for job in moved.jobs] == expected
        assert moved.definition["directory"] == str(place)


def test_a_copied_sweep_keeps_to_its_own_runs(tmp_path):
    run = tmp_path / "project" / "outputs" / "runs" / "r"
    run.mkdir(parents=True)
    sweep = Sweep(tmp_path / "project" / "outputs" / "sweeps" / "s")
    sweep.begin(["-m"], {}, {})
    sweep.write([Job(0, [], path=str(run))])
    sweep.end("finished")
    shutil.copytree(tmp_path / "project", tmp_path / "copy")
    (job,) = Sweep(tmp_path / "copy" / "outputs" / "sweeps" / "s").jobs
    assert job.run.path == tmp_path / "copy" / "outputs" / "runs" / "r"


def test_runs_of_an_earlier_version_are_found_beside_the_sweep(tmp_path):
    (tmp_path / "outputs" / "runs" / "r").mkdir(parents=True)
    sweep = Sweep(tmp_path / "outputs" / "sweeps" / "s")
    sweep.begin(["-m"], {}, {})
    definition = json.loads((sweep.path / "sweep.json").read_text())
    del definition["path"]
    (sweep.path / "sweep.json").write_text(json.dumps(definition))
    sweep.write([Job(0, [], path="/gone/outputs/runs/r")])
    (job,) = sweep.jobs
    assert job.run.path == tmp_path / "outputs" / "runs" / "r"


@pytest.mark.parametrize(
    ("name", "error", "described"),
    [
        ("model.width=0", "model.width=0: expected at least 1", "model.width=0: expected at least 1"),
        ("seed=1", "rank 0 died", "seed=1: rank 0 died"),
        ("seed=1", "seed=10: no", "seed=1: seed=10: no"),
        ("seed=1", None, "seed=1"),
    ],
)
def test_a_description_says_an_option_once(name, error, described):
    assert Job(0, [], name, error=error).described == described


def test_a_sweep_of_a_newer_version_is_refused_in_a_line(tmp_path):
    sweep = Sweep(tmp_path / "s")
    sweep.begin(["seed=1,2"], {}, {})
    sweep.end("finished")
    file = sweep.path / "sweep.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": VERSION + 1}))
    with pytest.raises(UserError, match=f"in version {VERSION + 1} of the sweep directory; .* up to {VERSION}, "):
        _ = sweep.status
