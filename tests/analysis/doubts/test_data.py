import json

import pytest
from compared_arms import DATA, RATES, VALIDATION_BPB, arm, between, doubt_about
from synthetic_runs import EXACT_MATCH

from lmlab.analysis.doubts import examine
from lmlab.data.fingerprints import streamed_fingerprint
from lmlab.metrics import Measures
from lmlab.runs.lookup import all_runs
from lmlab.runs.version import measures_of


def test_2_other_data_and_data_without_a_name(runs):
    arm(runs, "lstm", data=DATA | {"fingerprint": "e" * 64, "corpus_fingerprint": "d" * 64})
    doubt_about(runs, 2, "refuse", "eeeeeeeeeeee", "ffffffffffff")
    for run in all_runs(runs):
        run.update(data={key: value for key, value in DATA.items() if key != "fingerprint"})
    doubt_about(runs, 2, "refuse", "6 of 6 runs have no fingerprint")


def test_2_text_that_one_arm_streams_is_the_same_data(runs):
    streamed = DATA | {"fingerprint": streamed_fingerprint(DATA)}
    arm(runs, "lstm", data=streamed)
    assert examine(between(runs)) == []
    for run in all_runs(runs):
        if run.manifest["data"] == streamed:
            other = streamed | {"corpus_fingerprint": "d" * 64}
            run.update(data=other | {"fingerprint": streamed_fingerprint(other)})
    doubt_about(runs, 2, "refuse", "not on the same data")


def test_2_a_setting_chosen_from_runs_on_other_data(runs):
    arm(runs, "lstm")
    other = DATA | {"fingerprint": "e" * 64, "corpus_fingerprint": "d" * 64}
    for run in all_runs(runs):
        if run.manifest["choices"]["model"] == "lstm" and run.config["optimizer"]["lr"] == RATES[0]:
            run.update(data=other)
    doubt_about(runs, 2, "doubt", "from which lstm was chosen, 1 are")


def test_3_different_parts_of_a_split(runs):
    arm(runs, "lstm", "validation.tokens=20000")
    doubt_about(runs, 3, "refuse", "lstm 20,000, transformer 100,000", only=False, metric=VALIDATION_BPB)
    assert examine(between(runs)) == []  # the whole test split is scored


def test_3_the_first_tokens_of_different_tokenizers_are_different_text(runs):
    options = {"validation.tokens": 20_000}
    arm(runs, "lstm", options=options, data=DATA | {"fingerprint": "a" * 64, "tokenizer_fingerprint": "b" * 64})
    doubt_about(runs, 3, "refuse", "validation.tokens: lstm 20,000", only=False, metric=VALIDATION_BPB)


def test_3_tokens_skipped_or_scored_twice(runs):
    arm(runs, "lstm")
    run = next(iter(all_runs(runs)))
    rows = [
        {"from": 0, "to": 64, "tokens": 50_000, "loss": 1.5},
        {"from": 64, "to": 128, "tokens": 50_000, "loss": 1.4},
    ]
    for run in all_runs(runs):
        (run.path / "breakdown.json").write_text(json.dumps({"position": rows}))
    assert examine(between(runs)) == []
    chosen = between(runs).runs[0]
    rows[1]["tokens"] = 49_900
    (chosen.run.path / "breakdown.json").write_text(json.dumps({"position": rows}))
    assert doubt_about(runs, 3, "refuse", "99,900", "100,000").runs == (chosen.label,)


def test_5_words_that_are_unknown_cost_nothing(runs):
    splits = {split: {"tokens": 100_000, "bytes": 200_000, "unknown": 5_000} for split in ("validation", "test")}
    arm(runs, "lstm", data=DATA | {"fingerprint": "a" * 64, "tokenizer_fingerprint": "b" * 64, "splits": splits})
    doubt_about(runs, 5, "refuse", "lstm 5.00%, transformer 0.00%")


@pytest.mark.parametrize(
    ("metric", "per_token", "severity"),
    [
        ("exact_match", False, None),
        ("exact_match", None, "doubt"),
        ("exact_match", True, "refuse"),
        ("loss", True, "refuse"),
        ("loss", None, "refuse"),
        ("bits_per_byte", False, None),
        ("bits_per_byte", None, None),
    ],
)
def test_5_what_a_metric_counts_decides_whether_tokenizers_compare(runs, metric, per_token, severity):
    measures = EXACT_MATCH if metric == "exact_match" else measures_of({})
    metrics = measures.metrics | {metric: measures.metrics[metric]._replace(per_token=per_token)}
    record = Measures(f"validation/{metric}", (f"validation/{metric}",), metrics).to_record()
    folder = runs / "two"
    for model, tokenizer, score in (("lstm", "a", 0.5), ("transformer", "b", 0.25)):
        data = DATA | {"fingerprint": tokenizer * 64, "tokenizer_fingerprint": tokenizer * 64}
        arm(folder, model, data=data, measures=record, metrics={f"validation/{metric}": score})
    doubts = [doubt for doubt in examine(between(folder, f"test/{metric}")) if doubt.number == 5]
    assert [doubt.severity for doubt in doubts] == ([] if severity is None else [severity])
