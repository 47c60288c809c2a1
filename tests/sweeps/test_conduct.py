import json
import threading

import pytest

from lmlab.errors import UserError
from lmlab.runs.files import append_row
from lmlab.runs.run import Run
from lmlab.sweeps.conduct import Conductor
from lmlab.sweeps.search import Proposal
from lmlab.sweeps.search.search import Queue
from lmlab.sweeps.sweep import Job, Sweep


def statuses(jobs):
    return [job.status for job in jobs]


def test_jobs_start_in_order_and_are_told_to_the_search(sweep, queue, pretending, prepare, seen):
    search, engine = queue("a", "b", "c", "d"), pretending(workers=2, outcomes={1: "failed"})
    jobs = Conductor(sweep, search, engine, prepare, seen).conduct()
    assert engine.submitted == seen.prepared_jobs == [0, 1, 2, 3]
    assert statuses(jobs) == ["finished", "failed", "finished", "finished"]
    assert [number for number, _ in seen.ended_jobs] == [0, 1, 2, 3]
    assert search.costs == {0: 9.0, 1: float("inf"), 2: 7.0, 3: 6.0} and search.best() == [3]
    assert sweep.status == "finished" and statuses(sweep.jobs) == statuses(jobs)


def test_a_job_that_is_refused_keeps_no_other_from_being_computed(sweep, queue, pretending, prepare, seen):
    jobs = Conductor(sweep, queue("a", "refused", "b"), pretending(), prepare, seen).conduct()
    assert statuses(jobs) == ["finished", "failed", "finished"]
    assert jobs[1].error == "x=refused: expected something else" and jobs[1].path is None
    assert seen.ended_jobs == [(0, "finished"), (2, "finished")], "a refused job is shown once, when it is prepared"


def test_what_is_finished_already_is_not_submitted(sweep, queue, pretending, prepare, seen, tmp_path):
    prepare(Job(0, ["b"])).update(status="finished", metrics={"validation/loss": 1.0}, timings={})
    search, engine = queue("a", "b"), pretending()
    Conductor(sweep, search, engine, prepare, seen).conduct()
    assert engine.submitted == [0] and search.best() == [1]


def test_jobs_that_ask_for_one_run_are_told_apart(sweep, queue, pretending, prepare, seen):
    jobs = Conductor(sweep, queue("a", "b", "a"), pretending(workers=1), prepare, seen).conduct()
    assert statuses(jobs) == ["finished"] * 3
    assert seen.same_jobs == {2: 0}


@pytest.mark.parametrize(("retry", "again"), [(True, [1, 3]), (False, [3])])
def test_going_on_with_a_sweep(retry, again, sweep, queue, pretending, prepare, seen):
    """What was finished is not submitted; what failed only when it is retried; what was interrupted always."""
    words = ("a", "b", "refused", "d")
    engine = pretending(outcomes={1: "failed", 3: "failed"})
    before = Conductor(sweep, queue(*words), engine, prepare, seen).conduct()
    before[3].status = "interrupted"
    sweep.write(before)
    engine, search = pretending(), queue(*words)
    jobs = Conductor(Sweep(sweep.path), search, engine, prepare, seen, retry).conduct()
    assert engine.submitted == again
    expected = ["finished", "finished" if retry else "failed", "failed", "finished"]
    assert statuses(jobs) == expected
    assert jobs[2].error == "x=refused: expected something else"
    assert search.done and set(search.costs) == {0, 1, 2, 3}


def test_a_job_of_the_same_number_with_other_options_is_another(sweep, queue, pretending, prepare, seen):
    Conductor(sweep, queue("a"), pretending(), prepare, seen).conduct()
    engine = pretending()
    jobs = Conductor(Sweep(sweep.path), queue("b"), engine, prepare, seen).conduct()
    assert engine.submitted == [0] and jobs[0].overrides == ["b"]


def test_a_finished_job_whose_run_was_deleted_is_computed_again(sweep, queue, pretending, prepare, seen):
    (job,) = Conductor(sweep, queue("a"), pretending(), prepare, seen).conduct()
    job.run.remove()
    engine = pretending()
    Conductor(Sweep(sweep.path), queue("a"), engine, prepare, seen).conduct()
    assert engine.submitted == [0] and job.run.status_recorded == "finished"


class Watching(Queue):
    """Stops a job at its second row."""

    def __init__(self, *words):
        super().__init__(Proposal(number, [word]) for number, word in enumerate(words))
        self.rows: dict[int, list[int]] = {}

    def watch(self, proposal, rows):
        seen = self.rows.setdefault(proposal.number, [])
        seen += [row["step"] for row in rows]
        return "bad" if proposal.number == 1 and len(seen) >= 2 else None


def test_a_job_that_the_search_has_seen_enough_of_is_pruned(sweep, pretending, prepare, seen, tmp_path):
    steps = iter(range(1, 100))

    def train(engine):
        step = next(steps)
        for word in "ab":
            append_row(tmp_path / f"run-{word}" / "metrics.jsonl", {"step": step})

    class Slow(pretending):
        def poll(self, seconds):
            if next(self.polls) < 4 and not self.stopped:
                train(self)
                return []
            return super().poll(seconds)

        def stop(self, job, why):
            announced[job.number] = json.loads(job.run.pruned.read_text())
            super().stop(job, why)

        polls = iter(range(100))

    announced = {}
    search, engine = Watching("a", "b"), Slow()
    jobs = Conductor(sweep, search, engine, prepare, seen).conduct()
    assert engine.stopped == {1: "bad"}
    assert announced == {1: {"why": "bad"}} and not jobs[1].run.pruned.exists()
    assert statuses(jobs) == ["finished", "pruned"] and jobs[1].error == "bad"
    manifest = jobs[1].run.manifest  # the run says it too, to whoever reads it without the sweep
    assert manifest["status"] == "pruned" and manifest["attempts"][-1] == {"status": "pruned", "error": "bad"}
    assert search.rows == {0: [1, 2], 1: [1, 2]}, "every row is shown once"
    assert search.costs[1] == float("inf")


def test_stopped_from_outside_all_jobs_write_their_state(sweep, queue, pretending, prepare, seen):
    def stop(engine):
        if len(engine.submitted) == 3 and not engine.stopped:
            raise KeyboardInterrupt("told to stop by SIGTERM")

    engine = pretending(workers=2, during=stop)
    with pytest.raises(KeyboardInterrupt):
        Conductor(sweep, queue("a", "b", "c", "d"), engine, prepare, seen).conduct()
    assert engine.stopped == dict.fromkeys([1, 2], "told to stop by SIGTERM") and not engine.killed
    assert statuses(sweep.jobs) == ["finished", "interrupted", "interrupted"]
    assert sweep.status == "interrupted"
    engine = pretending()
    jobs = Conductor(Sweep(sweep.path), queue("a", "b", "c", "d"), engine, prepare, seen).conduct()
    assert engine.submitted == [1, 2, 3] and statuses(jobs) == ["finished"] * 4


def test_a_job_that_somebody_stops_is_left_alone_until_the_sweep_is_asked_for_again(
    sweep, queue, pretending, prepare, seen
):
    engine = pretending(workers=2, outcomes={1: "interrupted"})
    jobs = Conductor(sweep, queue("a", "b", "c"), engine, prepare, seen).conduct()
    assert engine.submitted == [0, 1, 2] and statuses(jobs) == ["finished", "interrupted", "finished"]
    assert sweep.status == "interrupted"
    engine = pretending()
    jobs = Conductor(Sweep(sweep.path), queue("a", "b", "c"), engine, prepare, seen, retry=False).conduct()
    assert engine.submitted == [1] and statuses(jobs) == ["finished"] * 3


def test_how_many_jobs_are_to_come_is_known_and_kept(sweep, queue, pretending, prepare, seen):
    def stop(engine):
        if len(engine.submitted) == 3 and not engine.stopped:
            raise KeyboardInterrupt

    assert sweep.to_come == 0
    with pytest.raises(KeyboardInterrupt):
        Conductor(sweep, queue(*"abcde"), pretending(workers=2, during=stop), prepare, seen).conduct()
    assert set(seen.totals) == {5} and all(jobs + left == 5 for jobs, left in seen.to_come)
    assert len(sweep.jobs) == 3 and sweep.to_come == 2
    for outcome in ("failed", "finished"):  # the second time, one in the middle is computed again
        engine = pretending(workers=1, outcomes={2: outcome})
        Conductor(Sweep(sweep.path), queue(*"abcde"), engine, prepare, seen).conduct()
        assert set(seen.totals) == {5} and all(jobs + left == 5 for jobs, left in seen.to_come)
        assert sweep.to_come == 0
    assert engine.submitted == [2]


def test_after_so_many_failures_no_further_job_starts(sweep, queue, pretending, prepare, seen):
    engine = pretending(workers=1, outcomes={1: "failed", 2: "failed"})
    jobs = Conductor(sweep, queue(*"abcdef"), engine, prepare, seen, stop_after=2).conduct()
    assert engine.submitted == [0, 1, 2]
    assert statuses(jobs) == statuses(sweep.jobs) == ["finished", "failed", "failed", *["not started"] * 3]
    assert seen.halts == [("2 jobs failed (sweep.stop_after=2)", 0)]
    assert {job.error for job in jobs[3:]} == {"2 jobs failed (sweep.stop_after=2)"}
    assert [job.name for job in sweep.jobs[3:]] == ["d", "e", "f"] and sweep.to_come == 0
    assert sweep.status == "interrupted" and [number for number, _ in seen.ended_jobs] == [0, 1, 2]


@pytest.mark.parametrize(("retry", "again"), [(True, [1, 3, 4]), (False, [3, 4])])
def test_a_sweep_that_failures_ended_is_gone_on_with(retry, again, sweep, queue, pretending, prepare, seen):
    """Failures of the time before do not count."""
    engine = pretending(workers=1, outcomes={1: "failed"})
    words = ("a", "b", "a", "c", "d")
    Conductor(sweep, queue(*words), engine, prepare, seen, stop_after=1).conduct()
    engine = pretending(workers=1)
    jobs = Conductor(Sweep(sweep.path), queue(*words), engine, prepare, seen, retry, stop_after=1).conduct()
    assert engine.submitted == again and len(seen.halts) == 1
    assert statuses(jobs) == ["finished", "finished" if retry else "failed", *["finished"] * 3]
    assert Sweep(sweep.path).definition["status"] == "finished"


def test_jobs_under_way_go_on_to_their_end_after_a_failure(sweep, queue, pretending, prepare, seen):
    engine = pretending(workers=3, outcomes={0: "failed", 2: "failed"})
    jobs = Conductor(sweep, queue(*"abcde"), engine, prepare, seen, stop_after=1).conduct()
    assert engine.submitted == [0, 1, 2] and engine.stopped == {}
    assert statuses(jobs) == ["failed", "finished", "failed", "not started", "not started"]
    assert seen.halts == [("1 job failed (sweep.stop_after=1)", 2)]


def test_a_configuration_that_is_refused_counts_as_a_failure(sweep, queue, pretending, prepare, seen):
    engine = pretending(workers=2)
    jobs = Conductor(sweep, queue("refused", "a", "b"), engine, prepare, seen, stop_after=1).conduct()
    assert engine.submitted == [] and statuses(jobs) == ["failed", "not started", "not started"]


def test_jobs_that_wait_for_a_place_on_a_cluster_are_taken_back(sweep, queue, pretending, prepare, seen):
    """One that has begun earlier is interrupted, and has something to go on from."""

    class Cluster(pretending):
        def submit(self, job):
            super().submit(job)
            if len(self.under_way) > 1:
                job.status = "waiting"

        def poll(self, seconds):
            for job in self.under_way:
                begun = [{"status": "interrupted"}] if job.number == 2 else []
                job.run.update(attempts=begun)
            ended = [job for job in self.under_way if job.number in self.stopped]
            for job in ended:
                self.under_way.remove(job)
                job.end("interrupted", self.stopped[job.number])
            return ended or super().poll(seconds)

    engine = Cluster(workers=9, outcomes={0: "failed"})
    jobs = Conductor(sweep, queue(*"abcd"), engine, prepare, seen, stop_after=1).conduct()
    assert engine.submitted == [0, 1, 2, 3] and set(engine.stopped) == {1, 2, 3}
    assert statuses(jobs) == ["failed", "not started", "interrupted", "not started"]
    assert seen.ended_jobs == [(0, "failed"), (2, "interrupted")] and sweep.status == "interrupted"


def test_told_to_stop_twice_it_kills(sweep, queue, pretending, prepare, seen):
    interrupts = iter([True, True])

    def stop(engine):
        if next(interrupts, False):
            raise KeyboardInterrupt

    engine = pretending(during=stop)
    with pytest.raises(KeyboardInterrupt):
        Conductor(sweep, queue("a", "b"), engine, prepare, seen).conduct()
    assert engine.killed and set(engine.stopped.values()) == {"stopped from the keyboard"}


def test_a_search_that_cannot_go_on_leaves_nothing_running(sweep, pretending, prepare, seen):
    """Nor is it asked anything any more: its storage may be what is gone."""

    class Broken(Queue):
        broken = False

        def tell(self, *told):
            self.broken = True
            raise UserError("sweep.objectives.x: a finished run has no such metric")

        def to_come(self, begun):
            assert not self.broken
            return super().to_come(begun)

    engine = pretending(workers=2)
    with pytest.raises(UserError, match="no such metric"):
        Conductor(sweep, Broken(Proposal(n, [w]) for n, w in enumerate("abc")), engine, prepare, seen).conduct()
    assert not engine.under_way
    assert statuses(sweep.jobs) == ["finished", "interrupted"] and sweep.status == "interrupted"


def test_a_full_disk_leaves_nothing_running(sweep, queue, pretending, prepare, seen, monkeypatch):
    engine = pretending(workers=2)

    def write(jobs, to_come):
        if engine.submitted == [0, 1]:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweep, "write", write)
    with pytest.raises(OSError, match="No space left"):
        Conductor(sweep, queue("a", "b", "c"), engine, prepare, seen).conduct()
    assert not engine.under_way


def test_the_record_is_whole_at_every_moment(sweep, queue, pretending, prepare, seen):
    stop, found, errors = threading.Event(), [], []

    def read():
        while not stop.is_set():
            try:
                text = (sweep.path / "jobs.json").read_text()
                found.append(len(json.loads(text)))
            except FileNotFoundError:
                continue
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    Conductor(sweep, queue(*map(str, range(30))), pretending(workers=3), prepare, seen).conduct()
    stop.set()
    reader.join()
    assert not errors and len(set(found)) > 3 and found == sorted(found)
    assert all(Run(sweep.path.parent / f"run-{number}").status_recorded == "finished" for number in range(30))


@pytest.fixture
def prepare_stages(prepare, tmp_path):
    """Prepare the run ``base``, which all jobs start from, and then the job's own."""

    def prepared(job: Job) -> Run:
        base = Run(tmp_path / "run-base")
        if base.exists and base.status_recorded == "finished":
            job.stage = None
            return prepare(job)
        job.stage = "first"
        if not base.exists:
            base.create({"name": "a", "seed": 1, "tags": [], "model": {}}, "base")
        return base

    return prepared


def test_a_stage_that_jobs_have_in_common_is_computed_once(sweep, queue, pretending, prepare_stages, seen, tmp_path):
    engine, search = pretending(workers=3), queue("a", "b", "c")
    jobs = Conductor(sweep, search, engine, prepare_stages, seen).conduct()
    assert engine.submitted == [0, 0, 1, 2], "the base for the first job, then the jobs' own runs"
    assert statuses(jobs) == ["finished"] * 3 and [job.stage for job in jobs] == [None] * 3
    assert [job.run.path.name for job in jobs] == ["run-a", "run-b", "run-c"]
    assert search.costs == {0: 9.0, 1: 8.0, 2: 7.0} and not seen.same_jobs
    assert seen.ended_jobs == [(0, "finished"), (1, "finished"), (2, "finished")]


def test_jobs_fail_with_the_stage_that_they_start_from(sweep, queue, pretending, prepare_stages, seen):
    engine = pretending(workers=2, outcomes={0: "failed"})
    jobs = Conductor(sweep, queue("a", "b", "c"), engine, prepare_stages, seen).conduct()
    assert engine.submitted == [0], "it is not tried again for every job"
    assert statuses(jobs) == ["failed"] * 3 and {job.error for job in jobs} == {"stage first: it went wrong"}


def test_a_sweep_that_is_stopped_in_a_stage_goes_on_in_it(sweep, queue, pretending, prepare_stages, seen):
    def interrupt(engine):
        raise KeyboardInterrupt

    class Stopping(pretending):
        def poll(self, seconds):
            if self.during is not None:
                during, self.during = self.during, None
                during(self)
            return super().poll(seconds)

    with pytest.raises(KeyboardInterrupt):
        Conductor(sweep, queue("a", "b"), Stopping(during=interrupt), prepare_stages, seen).conduct()
    assert statuses(sweep.jobs) == ["interrupted"] * 2
    jobs = Conductor(Sweep(sweep.path), queue("a", "b"), pretending(), prepare_stages, seen).conduct()
    assert statuses(jobs) == ["finished"] * 2 and [job.stage for job in jobs] == [None] * 2
