import pytest
from compared_arms import arm, between, doubt_about
from synthetic_runs import VERSION

from lmlab.analysis.doubts import examine
from lmlab.runs.lookup import all_runs


def test_9_options_that_the_comparison_is_not_about(runs):
    arm(runs, "lstm", "optimizer.weight_decay=0.0", "trainer.precision=bf16-mixed", "log_every=5")
    doubt = doubt_about(runs, 9, "doubt", "differ in 2 options", "optimizer.weight_decay: lstm 0, transformer 0.1")
    assert "trainer.precision: lstm bf16-mixed, transformer 32-true" in doubt.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"provenance": VERSION | {"packages": {"lmlab": "0.2.0", "torch": "2.12.0"}}},
            ["lmlab 0.2.0 and 0.1.0", "2.12"],
        ),
        ({"provenance": VERSION | {"git": {"commit": "1", "dirty": True}}}, ["3 of 6 runs", "uncommitted"]),
        ({"attempts": [{"code": "c0de"}, {"code": "beef"}]}, ["2 versions of the code", "beef"]),
        ({"provenance": VERSION | {"code": None}, "attempts": []}, ["no fingerprint of their code"]),
        ({"version": 0}, ["run directory 0 and 2"]),
        ({"training": {"steps": 489, "stopped_at": 489, "compiled": True}}, ["lstm true, transformer false"]),
        ({"provenance": VERSION | {"hardware": {"processor": "fast"}}}, ["lstm fast, transformer unknown"]),
    ],
)
def test_9_other_code_packages_and_devices(runs, change, words):
    arm(runs, "lstm", **change)
    doubt_about(runs, 9, "doubt", *words)


def test_9_other_versions_of_own_modules_but_not_that_one_arm_has_some(runs):
    before = {run.path for run in all_runs(runs)}
    arm(runs, "lstm", attempts=[{"code": "c0de"}])
    own = [run for run in all_runs(runs) if run.path not in before]
    for run in own:
        text = (run.path / "config.yaml").read_text().replace("lmlab.models.mixers.lstm.LSTM", "mine.Mixer")
        (run.path / "config.yaml").write_text(f"{text}content:\n  code: {'ab' * 32}\n")
        run.code.mkdir()
        (run.code / "mine.py").write_text("x = 1")
    assert 9 not in [doubt.number for doubt in examine(between(runs))]
    rates = [run.config["optimizer"]["lr"] for run in own]
    repeated = next(run for run, rate in zip(own, rates, strict=True) if rates.count(rate) > 1)
    (repeated.code / "mine.py").write_text("x = 2")
    doubt_about(runs, 9, "doubt", "different versions of your own mine.py", only=False)
