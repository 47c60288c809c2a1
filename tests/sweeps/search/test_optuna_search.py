import fcntl
import json
import math
import statistics
import subprocess
import sys
import textwrap
import time
from functools import partial

import pytest
from synthetic_runs import BY_LOSS

pytest.importorskip("optuna")

from lmlab.errors import UserError
from lmlab.sweeps.search import Random, Space
from lmlab.sweeps.search import optuna as optuna_search
from lmlab.sweeps.search.optuna_study import JOURNAL

Optuna = partial(optuna_search.Optuna, measures=lambda: BY_LOSS)
SPACE = ["model=lstm", "lr=tag(log,interval(1e-5,1))", "depth=range(2,9)", "mixer=a,b,c"]


def bowl(options):
    """The lowest loss, 0, is at a rate of 3e-3, depth 5 and mixer b."""
    rate = math.log10(float(options["lr"]) / 3e-3)
    return rate**2 + 0.05 * (int(options["depth"]) - 5) ** 2 + 0.3 * (options["mixer"] != "b")


def overrides_of(record):
    return [record.proposals[number].overrides for number in sorted(record.proposals)]


def die(search):
    """What is left of a process that was killed: its locks are free, its trials are not ended."""
    search.shared._alive.release(force=True)


def test_it_comes_closer_to_the_optimum_than_chance(tmp_path, simulate, job):
    train = lambda o: job({"validation/loss": bowl(o)})  # noqa: E731
    closest = {"optuna": [], "random": []}
    for seed in range(3):
        searches = {
            "optuna": Optuna(Space(SPACE), tmp_path / str(seed), trials=30, seed=seed),
            "random": Random(Space(SPACE), trials=30, seed=seed),
        }
        for name, search in searches.items():
            record = simulate(search, train)
            (best,) = search.best()
            losses = [bowl(dict(word.split("=") for word in overrides)) for overrides in overrides_of(record)]
            assert losses[best] == min(losses)
            closest[name].append(losses[best])
    assert statistics.mean(closest["optuna"]) < 0.5 * statistics.mean(closest["random"]), closest


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsgaii", "gp", "TPESampler", "brute_force", "grid"])
def test_a_seed_gives_one_sequence_in_one_process_or_several(sampler, tmp_path, simulate, job):
    words = ["depth=range(2,5)", "mixer=a,b,c"] if sampler in ("grid", "brute_force") else SPACE
    train = lambda o: job({"validation/loss": bowl({"lr": "1", **o})})  # noqa: E731

    def search(folder, seed=3):
        return Optuna(Space(words), tmp_path / folder, trials=10, sampler=sampler, seed=seed)

    whole = simulate(search("whole"), train)
    parts = [simulate(search("parts"), train, limit=limit) for limit in (1, 6, None)]
    assert [len(part.proposals) for part in parts[:2]] == [1, 6]
    joined = {number: proposal for part in parts for number, proposal in part.proposals.items()}
    assert [joined[number].overrides for number in sorted(joined)] == overrides_of(whole)
    assert sorted(joined) == list(range(9 if sampler in ("grid", "brute_force") else 10))
    if sampler in ("grid", "brute_force"):
        assert {*map(tuple, overrides_of(whole))} == {*map(tuple, Space(words).combinations())}
    elif sampler != "qmc":  # whose first points are the same for all seeds
        assert overrides_of(simulate(search("other", seed=4), train)) != overrides_of(whole)


def test_what_a_killed_process_left_comes_first_with_the_same_parameters(tmp_path, simulate, job):
    train = lambda o: job({"validation/loss": bowl(o)})  # noqa: E731
    whole = simulate(Optuna(Space(SPACE), tmp_path / "whole", trials=9), train)
    first = Optuna(Space(SPACE), tmp_path / "killed", trials=9)
    before = simulate(first, train, limit=3)
    killed = first.ask()
    assert killed.number == 3
    die(first)
    (journal,) = (tmp_path / "killed").glob(JOURNAL)
    journal.write_bytes(journal.read_bytes() + b'{"op_code":8,"wor')  # killed in the middle of a line
    second = Optuna(Space(SPACE), tmp_path / "killed", trials=9)
    assert not second.done
    again = second.ask()
    assert again == killed
    second.tell(again, "interrupted", {})  # and once more, told this time
    rest = simulate(second, train)
    assert rest.proposals[3] == killed and sorted(rest.proposals) == list(range(3, 9))
    assert overrides_of(before) + overrides_of(rest) == overrides_of(whole)
    assert len(list((tmp_path / "killed").glob("*.alive"))) == 1, "the dead process's file is gone"
    assert simulate(Optuna(Space(SPACE), tmp_path / "killed", trials=9), train).proposals == {}
    more = simulate(Optuna(Space(SPACE), tmp_path / "killed", trials=11), train)
    assert sorted(more.proposals) == [9, 10]


def test_a_living_process_keeps_its_jobs(tmp_path):
    first, second = (Optuna(Space(SPACE), tmp_path, trials=2) for _ in range(2))
    mine, other = first.ask(), second.ask()
    assert (mine.number, other.number) == (0, 1) and mine.overrides != other.overrides
    assert first.ask() is None and second.ask() is None and not second.done
    second.tell(other, "finished", {"validation/loss": 1.0})
    assert not second.done, "the other's job is under way"
    die(first)
    assert second.ask() == mine
    second.tell(mine, "failed", {})
    assert second.done and second.best() == [1]


WORKER = """
    import sys, time
    from pathlib import Path
    from lmlab.sweeps.search import Space
    from lmlab.sweeps.search.optuna import Optuna
    search = Optuna(
        Space(["x=interval(0,1)", "c=a,b"]),
        Path(sys.argv[1]),
        trials=12,
        objectives={"validation/loss": "minimize"},
        measures=lambda: None,
    )
    while not search.done:
        proposal = search.ask()
        if proposal is None:
            time.sleep(0.05)
            continue
        print(proposal.number, *proposal.overrides, flush=True)
        time.sleep(float(sys.argv[2]))
        search.tell(proposal, "finished", {"validation/loss": float(proposal.overrides[0][2:])})
    print("best", search.best())
"""


@pytest.mark.slow
def test_several_processes_share_a_study_and_do_what_a_killed_one_left(tmp_path):
    def start(seconds):
        command = [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path), seconds]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    victim = start("100")
    begun = victim.stdout.readline().split()
    workers = [start("0.02"), start("0.02")]
    time.sleep(0.5)
    victim.kill()
    victim.communicate()
    lines = [worker.communicate(timeout=120)[0].splitlines() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    jobs = [line.split() for one in lines for line in one[:-1]]
    assert sorted(int(number) for number, *_ in jobs) == list(range(12)), "each job once"
    assert len({x for _, x, _ in jobs}) == 12, "no two the same"
    assert begun in jobs
    best = min(jobs, key=lambda row: float(row[1][2:]))[0]
    assert [one[-1] for one in lines] == [f"best [{best}]"] * 2


@pytest.mark.parametrize("steps", ["validations", "tokens"])
def test_the_median_pruner_stops_exactly_what_the_median_rule_stops(steps, tmp_path, simulate, job):
    startup, warmup = 3, 2
    curves = {}

    def train(options):
        height = float(options["x"])
        losses = [3 + height + (1 - height) / step + 0.2 * math.sin(40 * height + step) for step in range(1, 7)]
        curves[options["x"]] = losses
        return job({"validation/loss": losses[-1]}, losses)

    options = {"n_startup_trials": startup, "n_warmup_steps": warmup * (100 if steps == "tokens" else 1)}
    search = Optuna(
        Space(["x=interval(0,1)"]),
        tmp_path,
        trials=25,
        sampler="random",
        pruner="median",
        pruner_options=options,
        pruning_steps=steps,
    )
    record = simulate(search, train)
    finished, expected = [], {}
    for number in range(25):
        losses = curves[record.proposals[number].overrides[0].removeprefix("x=")]
        stopped = None
        for step in range(1, 7):
            others = [other[step - 1] for other in finished]
            if len(finished) >= startup and step >= warmup and min(losses[:step]) > statistics.median(others):
                stopped = step
                break
        expected[number] = stopped
        if stopped is None:
            finished.append(losses)
    stopped = {n: record.validations[n] if record.outcomes[n] == "pruned" else None for n in range(25)}
    assert stopped == expected
    assert 3 < len(finished) < 22, "the rule stops some and lets some pass"


@pytest.mark.parametrize(
    ("pruner", "options"),
    [("hyperband", {"min_resource": 1, "max_resource": 6}), ("successive_halving", {"min_resource": 1})],
)
def test_other_pruners_spare_the_good_and_stop_some_bad(pruner, options, tmp_path, simulate, job):
    train = lambda o: job({"validation/loss": float(o["x"])}, [float(o["x"])] * 6)  # noqa: E731
    search = Optuna(Space(["x=interval(0,1)"]), tmp_path, 20, None, "random", None, 1, pruner, options)
    record = simulate(search, train, parallel=3)
    stopped = [n for n, outcome in record.outcomes.items() if outcome == "pruned"]
    values = [float(record.proposals[n].overrides[0][2:]) for n in range(20)]
    assert 3 <= len(stopped) < 20
    assert search.best() == [values.index(min(values))]
    assert statistics.mean(values[n] for n in stopped) > statistics.mean(values)


@pytest.mark.parametrize(
    ("trials", "pruner", "options", "warning"),
    [
        (5, "median", {}, "cannot stop any of 5 jobs, because it first lets 5 finish"),
        (4, "percentile", {"percentile": 25.0, "n_startup_trials": 4}, "give sweep.trials=5 or more, or 'sweep"),
        (6, "median", {}, None),
        (3, "median", {"n_startup_trials": 2}, None),
        (1, "median", {"n_startup_trials": 0}, "cannot stop the only job"),
        (1, "hyperband", {}, "cannot stop the only job"),
        (2, "successive_halving", {}, None),
        (1, "threshold", {"upper": 1.0}, None),
        (1, "none", {}, None),
    ],
)
def test_a_pruner_that_cannot_stop_any_job_says_so_beforehand(trials, pruner, options, warning, tmp_path):
    search = Optuna(Space(["x=interval(0,1)"]), tmp_path, trials=trials, pruner=pruner, pruner_options=options)
    assert (search.warning is None) == (warning is None)
    if warning is not None:
        assert search.warning.startswith(f"sweep.pruner={pruner}: ") and warning in search.warning


def test_a_pruner_of_which_is_said_that_it_can_stop_no_job_stops_none(tmp_path, simulate, job):
    """And with one job more, it stops one."""
    for trials, count in ((5, 0), (6, 1)):
        search = Optuna(Space(["x=range(1,7)"]), tmp_path / str(trials), trials, None, "grid", None, 1, "median")
        best = iter(range(10))
        record = simulate(search, lambda _, best=best: job({"validation/loss": 1.0}, [float(next(best))] * 3))
        assert [*record.outcomes.values()].count("pruned") == count


def test_rows_that_are_shown_again_are_counted_once(tmp_path):
    search = Optuna(
        Space(["x=interval(0,1)"]),
        tmp_path,
        trials=2,
        pruner="threshold",
        pruner_options={"upper": 1.0, "n_warmup_steps": 3},
    )
    proposal = search.ask()
    rows = [{"tokens": 10 * step, "validation/loss": 5.0} for step in (1, 2, 3)]
    assert search.watch(proposal, rows[:2]) is None
    assert search.watch(proposal, rows[:2]) is None
    assert search.watch(proposal, rows) == "validation/loss=5.0000 after 30 tokens (sweep.pruner=threshold)"


def test_the_best_of_several_objectives_are_those_that_none_beats(tmp_path, simulate, job):
    objectives = {"validation/loss": "minimize", "tokens_per_second": "maximize"}
    search = Optuna(Space(["x=interval(0,1)", "y=interval(0,1)"]), tmp_path, trials=30, objectives=objectives)
    points = {}

    def train(options):
        x, y = float(options["x"]), float(options["y"])
        points[len(points)] = (x + y**2, x + y)
        return job({"validation/loss": x + y**2, "tokens_per_second": x + y})

    simulate(search, train)
    front = [
        n
        for n, (loss, speed) in points.items()
        if not any(other != (loss, speed) and other[0] <= loss and other[1] >= speed for other in points.values())
    ]
    assert search.best() == front and 1 < len(front) < 30


def test_a_run_that_diverged_is_the_worst_there_is(tmp_path, simulate, job):
    for direction, worst in (("minimize", math.inf), ("maximize", -math.inf)):
        search = Optuna(
            Space(["x=interval(0,1)"]), tmp_path / direction, trials=15, objectives={"validation/loss": direction}
        )
        record = simulate(
            search, lambda o: job({"validation/loss": math.nan if float(o["x"]) > 0.5 else float(o["x"])})
        )
        trials = search.shared.jobs()
        values = [float(record.proposals[n].overrides[0][2:]) for n in range(15)]
        assert [trials[n].value for n in range(15)] == [worst if x > 0.5 else x for x in values]


def test_a_trial_says_which_job_it_is_and_where_its_run_lies(tmp_path):
    search = Optuna(Space(["x=interval(0,1)"]), tmp_path / "sweep", trials=1, storage=None)
    search.tell(search.ask(), "finished", {"validation/loss": 1.0}, run=tmp_path / "run")
    (trial,) = search.shared.study.trials
    assert trial.user_attrs["job"] == 0 and trial.user_attrs["run"] == str(tmp_path / "run")
    with (tmp_path / trial.user_attrs["worker"]).open("a") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert all(json.loads(line) for line in (tmp_path / "sweep" / JOURNAL).read_text().splitlines())


def test_a_database_may_be_shared_from_several_folders(tmp_path):
    options = {"trials": 3, "storage": f"sqlite:///{tmp_path}/studies.db", "study": "rates"}
    first, second = (Optuna(Space(["x=interval(0,1)"]), tmp_path / name, **options) for name in "ab")
    one, two = first.ask(), second.ask()
    die(first)
    again = second.ask()
    assert again == one and two.number == 1 and second.ask().number == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "sweep.trials=0: expected at least 1"),
        ({"sampler": "tpf"}, "sweep.sampler=tpf: Optuna has no such sampler (did you mean 'tpe'?)"),
        ({"sampler": "base"}, "sweep.sampler=base: Optuna has no such sampler"),
        ({"pruner": "medain"}, "sweep.pruner=medain: Optuna has no such pruner (did you mean 'median'?)"),
        (
            {"sampler_options": {"multivariat": True}},
            "sweep.sampler_options.multivariat: tpe has no such option (did you mean 'multivariate'?)",
        ),
        (
            {"pruner": "median", "pruner_options": {"n_warmup": 1}},
            "sweep.pruner_options.n_warmup: median has no such option (did you mean 'n_warmup_steps'?)",
        ),
        ({"pruner": "percentile"}, "sweep.pruner=percentile: "),
        ({"pruner": "median", "pruner_options": {"interval_steps": 0}}, "sweep.pruner=median: "),
        ({"sampler": "grid"}, "lr: an interval has no list of values"),
        ({"objectives": {"validation/loss": "min"}}, "sweep.objectives.validation/loss=min: expected minimize"),
        (
            {"objectives": {"validation/loss": "minimize", "seconds": "minimize"}, "pruner": "median"},
            "sweep.pruner=median: only with a single objective, not with 2",
        ),
        ({"objectives": {"seconds": "minimize"}, "pruner": "median"}, "only for an objective that validations measure"),
        ({"storage": "sqlite:///x.db"}, "sweep.study has no value"),
        ({"storage": "nonsense", "study": "a"}, "sweep.storage=nonsense: cannot be opened"),
    ],
)
def test_what_cannot_work_is_one_clear_line_before_anything_starts(options, message, tmp_path):
    with pytest.raises(UserError) as error:
        Optuna(Space(SPACE), tmp_path / "sweep", **options)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "sweep" / JOURNAL).exists()


def test_a_study_of_something_else_is_not_gone_on_with(tmp_path):
    Optuna(Space(["x=interval(0,1)"]), tmp_path)
    for words, options in (
        (["x=interval(0,2)"], {}),
        (["y=interval(0,1)"], {}),
        (["x=interval(0,1)"], {"objectives": {"validation/loss": "maximize"}}),
    ):
        with pytest.raises(UserError, match="is another search: x for validation/loss"):
            Optuna(Space(words), tmp_path, **options)


def test_cma_es_draws_from_what_it_was_told(tmp_path):
    search = Optuna(Space(["x=interval(-1.0,1.0)", "y=interval(-1.0,1.0)"]), tmp_path, trials=80, sampler="cma_es")
    distances = []
    while (proposal := search.ask()) is not None:
        x, y = (float(word.partition("=")[2]) for word in proposal.overrides)
        distances.append((x - 0.5) ** 2 + (y + 0.5) ** 2)
        search.tell(proposal, "finished", {"validation/loss": distances[-1]})
    assert len(distances) == 80
    assert sum(distances[70:]) < sum(distances[:10]) / 4


def test_a_sampler_whose_library_is_missing_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("lmlab.sweeps.search.optuna_study.find_spec", lambda name: None)
    with pytest.raises(UserError, match="sweep.sampler=cmaes: needs the package cmaes; pip install cmaes"):
        Optuna(Space(SPACE), tmp_path, sampler="cmaes")


def test_an_objective_that_is_not_measured_is_named(tmp_path):
    search = Optuna(Space(["x=interval(0,1)"]), tmp_path, objectives={"validation/los": "minimize"})
    proposal = search.ask()
    with pytest.raises(UserError, match=r"sweep\.objectives\.validation/los: .* \(did you mean 'validation/loss'\?\)"):
        search.tell(proposal, "finished", {"validation/loss": 1.0})


class Groups:
    def get_group_options(self, group, kind):
        return ["a", "b"] if group == "arm" else []


def conditional(*words):
    """A space in which ``x.heads`` exists with the arm b alone."""
    return Space(words, Groups(), lambda groups, options: set() if "arm=b" in groups else {"x.heads"} & {*options})


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsgaii", "qmc", "cma_es"])
def test_an_option_of_one_arm_is_drawn_in_that_arm_alone(sampler, tmp_path, simulate, job):
    pytest.importorskip("torch" if sampler == "gp" else "cmaes" if sampler == "cma_es" else "optuna")
    space = conditional("x.heads=2,4,8", "arm=a,b", "lr=interval(0,1)")
    search = Optuna(space, tmp_path / "sweep", trials=16, sampler=sampler)
    record = simulate(search, lambda o: job({"validation/loss": float(o["lr"]) + ("x.heads" in o)}))
    trials = search.shared.study.trials
    assert len(trials) == 16
    for number, trial in enumerate(trials):
        names = {"arm", "lr"} | ({"x.heads"} if trial.params["arm"] == "b" else set())
        assert set(trial.params) == names
        assert {word.partition("=")[0] for word in record.proposals[number].overrides} == names
    assert {trial.params["arm"] for trial in trials} == {"a", "b"}


@pytest.mark.parametrize("sampler", ["brute_force", "grid"])
def test_every_combination_of_the_options_that_arms_have_is_computed(sampler, tmp_path, simulate, job):
    search = Optuna(conditional("arm=a,b", "x.heads=2,4"), tmp_path / "sweep", sampler=sampler)
    record = simulate(search, lambda o: job({"validation/loss": 1.0}))
    computed = [tuple(proposal.overrides) for proposal in record.proposals.values()]
    assert set(computed) == {("arm=a",), ("arm=b", "x.heads=2"), ("arm=b", "x.heads=4")}
    assert len(computed) == (3 if sampler == "brute_force" else 4), "a grid counts what it does not draw"


def test_a_trial_left_behind_is_taken_up_where_the_sweep_was_moved_to(tmp_path):
    search = Optuna(Space(["x=interval(0,1)"]), tmp_path / "before" / "sweep", trials=1)
    proposal = search.ask()
    die(search)
    (tmp_path / "before").rename(tmp_path / "after")
    moved = Optuna(Space(["x=interval(0,1)"]), tmp_path / "after" / "sweep", trials=1)
    assert moved.ask() == proposal


def test_a_study_that_goes_on_keeps_its_objectives(tmp_path):
    search = Optuna(Space(SPACE), tmp_path / "sweep", trials=2)
    assert search.objectives == {"validation/loss": "minimize"}
    die(search)
    never = partial(pytest.fail, "the data are not needed again")
    again = optuna_search.Optuna(Space(SPACE), tmp_path / "sweep", trials=2, measures=never)
    assert again.objectives == search.objectives
    with pytest.raises(UserError, match="is another search"):
        Optuna(Space(SPACE), tmp_path / "sweep", trials=2, objectives={"validation/accuracy": "maximize"})
