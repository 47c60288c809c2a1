import pytest
from compared_arms import arm, between, doubt_about, sizes_of

from lmlab.analysis.doubts import examine, rebuilt
from lmlab.analysis.doubts.rebuilt import recounted_flops
from lmlab.analysis.records import read
from lmlab.runs.lookup import all_runs


@pytest.mark.parametrize(
    ("number", "checks"),
    [
        (11, {"causal": False, "stepwise": 0.0, "stepwise_agrees": True}),
        (12, {"causal": True, "stepwise": 0.5, "stepwise_agrees": False}),
    ],
)
def test_11_and_12_checks_that_failed_or_were_not_made(runs, number, checks):
    arm(runs, "lstm", checks=checks)
    doubt_about(runs, number, "refuse", "3 of 6 models")
    for run in all_runs(runs):
        run.update(checks={})
    doubts = examine(between(runs))
    assert [(doubt.number, doubt.severity, len(doubt.runs)) for doubt in doubts] == [(11, "doubt", 6), (12, "doubt", 6)]


def test_10_flops_that_the_configuration_does_not_give(runs):
    right = sizes_of(runs)
    wrong = right | {"flops_per_token": 2 * right["flops_per_token"]}
    for run in all_runs(runs):
        run.update(sizes=wrong)
    arm(runs, "lstm")
    doubt_about(runs, 10, "doubt", "4,734,976", "2,367,488", only=False)


def test_10_what_was_counted_is_kept_and_belongs_to_a_configuration(runs, tmp_path, monkeypatch):
    arm(runs, "lstm", rates=(1e-3,), seeds=(1,))
    records = {record.choice("model"): record for record in read(all_runs(runs), tmp_path / "curves").readable}
    first, second = records["lstm"], records["transformer"]
    counted = [recounted_flops(record) for record in (first, second)]
    assert counted == [2_099_200, 2_367_488]
    monkeypatch.setattr(rebuilt, "_flops", lambda *asked: None)  # would count nothing any more
    assert [recounted_flops(record) for record in (first, second)] == counted
    monkeypatch.setattr(rebuilt, "package_hash", lambda: "other code")
    assert recounted_flops(first) is None


def test_10_what_rests_on_wrong_flops_is_refused(tmp_path):
    arm(tmp_path / "runs", "lstm", "budget.tokens=2_000_000", timings={"seconds": 250.0, "tokens": 2_000_896})
    arm(tmp_path / "runs", "transformer")
    for run in all_runs(tmp_path / "runs"):
        if run.manifest["choices"]["model"] == "transformer":
            sizes = run.manifest["sizes"]
            run.update(sizes=sizes | {"flops_per_token": 2 * 2_099_200})
    doubt_about(tmp_path / "runs", 10, "refuse", "4,198,400", "2,367,488")


def test_10_a_device_that_does_more_than_it_can(runs):
    arm(runs, "lstm", timings={"seconds": 100.0, "tokens": 1_001_472, "utilisation": 1.4, "peak_flops": 1e11})
    doubt_about(runs, 10, "doubt", "140%", "1e+11")


def test_10_flops_of_training_that_do_not_add_up(runs):
    arm(runs, "lstm", timings={"seconds": 100.0, "tokens": 1_001_472, "flops": 2 * 2_099_200 * 1_001_472})
    doubt_about(runs, 10, "doubt", "3 of 3 runs of lstm", "three times")


def test_10_a_report_runs_no_code_of_a_user_s_and_says_so(runs, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nclass Model:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    arm(runs, "lstm")
    for run in all_runs(runs):
        text = (run.path / "config.yaml").read_text()
        (run.path / "config.yaml").write_text(text.replace("lmlab.models.mixers.lstm.LSTM", "evil.Model"))
    doubt_about(runs, 10, "doubt", "user's own modules, which a report does not run", only=False)
    assert not (tmp_path / "mark").exists()
