from dataclasses import replace

from compared_arms import BPB, DATA, LOSS, VALIDATION_BPB, arm, between, doubt_about
from synthetic_runs import write_run

from lmlab.analysis.comparison import compare
from lmlab.analysis.doubts import examine
from lmlab.analysis.records import Record
from lmlab.runs.lookup import all_runs


def test_14_tuned_and_concluded_on_one_split(runs):
    arm(runs, "lstm")
    doubt = doubt_about(
        runs, 14, "doubt", "on the validation split", "lstm 3, transformer 3", f"metric={BPB}", metric=VALIDATION_BPB
    )
    assert len(doubt.runs) == 6
    assert examine(between(runs)) == []


def test_14_the_runs_to_score_are_named(runs):
    arm(runs, "lstm")
    chosen = between(runs).runs
    (chosen[0].run.path / "evaluations.jsonl").unlink()
    doubt = doubt_about(runs, 14, "doubt", metric="validation/loss")
    assert doubt.commands == (f"lmlab evaluate run={chosen[0].id} split=test", f"lmlab report metric={LOSS}")
    for record in chosen:
        (record.run.path / "evaluations.jsonl").unlink(missing_ok=True)
    doubt = doubt_about(runs, 14, "doubt", metric="validation/loss")
    ids = ",".join(record.id for record in chosen)
    assert doubt.commands[0] == f"lmlab evaluate -m run={ids} split=test"


def test_14_nothing_is_chosen_among_sizes_budgets_or_single_settings(tmp_path):
    for model in ("lstm", "transformer"):
        for tokens in (1e6, 2e6):
            arm(tmp_path / "runs", model, rates=(5e-3,), options={"budget.tokens": tokens})
    assert 14 not in {doubt.number for doubt in examine(between(tmp_path / "runs", VALIDATION_BPB))}


def test_14_data_without_a_test_split(tmp_path):
    data = DATA | {"splits": {"validation": DATA["splits"]["validation"]}}
    for model in ("lstm", "transformer"):
        arm(tmp_path / "runs", model, data=data)
    doubt_about(tmp_path / "runs", 14, "doubt", "no test split", metric=VALIDATION_BPB)


def test_14_settings_chosen_by_the_runs_of_the_conclusion(tmp_path):
    rates = tuple(5e-3 * 1.5**step for step in range(-2, 3))
    for model in ("lstm", "transformer"):
        arm(tmp_path / "runs", model, rates=rates, whole=model == "lstm")  # of the other, one seed alone chose
    doubt = doubt_about(tmp_path / "runs", 14, "doubt", "by the same runs", "settings tried: lstm 5", "new seeds")
    assert len(doubt.runs) == 3 and doubt.commands[-1] == "lmlab report tag=chosen"
    assert all("seed=4,5,6" in command and "tags=[chosen]" in command for command in doubt.commands[:-1])


def test_14_longer_sequences_are_another_split(tmp_path):
    splits = {split: {"sequences": 1000, "length": 64} for split in ("validation", "longer")}
    for model in ("lstm", "transformer"):
        for rate in (1e-3, 3e-3):
            for seed in (1, 2, 3):
                scores = {"validation/accuracy": 0.9 + rate, "longer/accuracy": 0.8 - rate}
                options = {"optimizer.lr": rate}
                data = {"name": "parity", "licence": "generated", "splits": splits}
                write_run(tmp_path / "runs", f"model={model}", seed=seed, options=options, metrics=scores, data=data)
    records = [Record.of(run) for run in all_runs(tmp_path / "runs")]
    longer = compare(records, "longer/accuracy")
    assert longer.selection_metric == "validation/accuracy"
    assert {run.config["optimizer"]["lr"] for run in longer.runs} == {3e-3}, "the best on the validation split"
    assert 14 not in {doubt.number for doubt in examine(longer)}
    doubts = examine(compare(records, "validation/accuracy"))
    (doubt,) = (doubt for doubt in doubts if doubt.number == 14)
    assert doubt.commands == ("lmlab report metric=longer/accuracy",)
    assert 14 in {doubt.number for doubt in examine(replace(longer, selection=None))}, (
        "a study that tunes on this split"
    )
