import pytest

from lmlab.commands import progress_table
from lmlab.commands.progress_table import LinesView, SweepPace, counts
from lmlab.runs.heartbeat import Heartbeat
from lmlab.sweeps.sweep import Job


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        seconds = 100.0

    monkeypatch.setattr(progress_table.time, "monotonic", lambda: Clock.seconds)
    return Clock


def at_step(job, folder, step, steps=100):
    """The job, which is under way."""
    job.path, job.status = str(folder / str(job.number)), "running"
    job.run.path.mkdir(exist_ok=True)
    Heartbeat("training", step=step, steps=steps).write(job.run)
    return job


def test_jobs_are_counted_with_those_to_come():
    jobs = [Job(0, [], status="finished"), Job(1, [], status="running"), Job(2, [], status="finished")]
    assert counts(jobs, 3) == "6 jobs: 2 finished, 1 running, 3 to come"
    assert counts(jobs[:1], 0) == "1 job: 1 finished"


def test_the_time_left_follows_from_what_was_computed_since_it_looks(clock, tmp_path):
    pace, fresh, resumed = SweepPace(), Job(2, []), Job(3, [])
    before = [Job(0, [], status="finished"), Job(1, [], status="failed")]
    pace.look(before, to_come=4)
    pace.look([*before, fresh], 3)
    pace.look([*before, at_step(fresh, tmp_path, 0), at_step(resumed, tmp_path, 25)], 2)
    assert str(pace) == "", "nothing has been computed yet: one goes on from its checkpoint"
    clock.seconds += 60
    pace.look([*before, at_step(fresh, tmp_path, 50), at_step(resumed, tmp_path, 50)], 2)
    # Three quarters of a job took 60 s; two halves and two whole ones are left.
    assert pace.seconds_left == pytest.approx(240) and str(pace) == "about 0:04:00 left"
    fresh.end("failed")
    again = Job(1, [])
    pace.look([before[0], at_step(again, tmp_path, 0), fresh, resumed], 2)
    # What failed has done no more than was seen of it; what failed before is computed again.
    assert pace.seconds_left == pytest.approx(60 / 0.75 * 3.5)
    for job in (again, resumed):
        job.end("finished")
    pace.look([before[0], again, fresh, resumed], 0)
    assert str(pace) == ""


def test_what_was_stopped_in_an_earlier_attempt_is_left_and_what_is_stopped_now_is_not(clock, tmp_path):
    pace, running = SweepPace(), Job(0, [])
    stopped = Job(1, [], status="interrupted")
    pace.look([at_step(running, tmp_path, 0), stopped], 0)
    clock.seconds += 10
    pace.look([at_step(running, tmp_path, 50), stopped], 0)
    assert pace.seconds_left == pytest.approx(10 / 0.5 * 1.5)
    running.end("interrupted")
    pace.look([running, stopped], 0)
    assert pace.seconds_left == pytest.approx(10 / 0.5 * 1.0)


def test_a_line_before_each_job_says_which_of_how_many_and_how_long_the_rest_takes(clock, capsys):
    view, jobs = LinesView(), [Job(0, [], name="seed=1", status="running")]
    view.prepared(jobs[0], 3, None)
    view.going_on(jobs, 2)
    clock.seconds += 30
    jobs[0].end("finished")
    view.going_on(jobs, 2)
    view.prepared(Job(1, [], name="seed=2"), 3, None)
    assert capsys.readouterr().out.splitlines() == ["job 1 of 3: seed=1", "job 2 of 3: seed=2 (about 0:01:00 left)"]
