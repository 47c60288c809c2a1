import pytest

from lmlab.commands import progress_table
from lmlab.commands.progress_table import LinesView, Pace, counts
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Job


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        seconds = 100.0

    monkeypatch.setattr(progress_table.time, "monotonic", lambda: Clock.seconds)
    return Clock


def running(folder, number, step, steps=100):
    run = Run(folder / str(number))
    run.path.mkdir(exist_ok=True)
    Heartbeat("training", step=step, steps=steps).write(run)
    return Job(number, [], status="running", path=str(run.path))


def test_jobs_are_counted_with_those_to_come():
    jobs = [Job(0, [], status="finished"), Job(1, [], status="running"), Job(2, [], status="finished")]
    assert counts(jobs, 3) == "6 jobs: 2 finished, 1 running, 3 to come"
    assert counts(jobs[:1], 0) == "1 job: 1 finished"


def test_the_time_left_follows_from_what_was_computed_since_it_looks(clock, tmp_path):
    pace = Pace()
    before = [Job(0, [], status="finished"), Job(1, [], status="failed")]
    starting = Job(2, [], status="running")
    pace.look(before, to_come=4)
    pace.look([*before, starting], 3)
    clock.seconds += 1
    pace.look([*before, running(tmp_path, 2, 0), running(tmp_path, 3, 25)], 2)
    assert str(pace) == "", "nothing has been computed yet: one goes on from its checkpoint"
    clock.seconds += 59
    pace.look([*before, running(tmp_path, 2, 50), running(tmp_path, 3, 50)], 2)
    # Three quarters of a job took 60 s; two halves and two whole ones are left.
    assert pace.seconds_left == pytest.approx(240) and str(pace) == "about 0:04:00 left"
    pace.look([Job(number, [], status="finished") for number in range(6)], 0)
    assert str(pace) == ""


def test_a_line_before_each_job_says_which_of_how_many_and_how_long_the_rest_takes(clock, capsys):
    view, jobs = LinesView(), [Job(0, [], name="seed=1", status="running")]
    view.prepared(jobs[0], 3, None)
    jobs[0] = Job(0, [], status="running")
    view.going_on(jobs, 2)
    clock.seconds += 30
    jobs[0].end("finished")
    view.going_on(jobs, 2)
    view.prepared(Job(1, [], name="seed=2"), 3, None)
    assert capsys.readouterr().out.splitlines() == ["job 1 of 3: seed=1", "job 2 of 3: seed=2 (about 0:01:00 left)"]
