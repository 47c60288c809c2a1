from compared_arms import BPB, arm, between, doubt_about
from synthetic_runs import write_answers

from lmlab.analysis.answers import evaluations
from lmlab.analysis.doubts import examine
from lmlab.runs.lookup import all_runs


def answered(folder, model, **fields):
    for run in all_runs(folder):
        if run.manifest["choices"]["model"] == model:
            write_answers(run, ["a", "b"], [0, 100], **fields)


def test_answers_to_the_same_questions_under_the_same_rules_are_no_doubt(runs):
    arm(runs, "lstm")
    answered(runs, "lstm")
    answered(runs, "transformer")
    assert examine(between(runs)) == []


def test_15_metrics_by_different_rules(runs):
    arm(runs, "lstm")
    answered(runs, "lstm")
    answered(runs, "transformer", signatures={"em": "exact, lower case"})
    doubt_about(runs, 15, "doubt", "em on quiz", "lstm exact, transformer exact, lower case")


def test_15_the_metric_of_the_conclusion(runs):
    arm(runs, "lstm")
    for run in all_runs(runs):
        rule = "tok:13a" if run.manifest["choices"]["model"] == "lstm" else "tok:none"
        run.update(data=run.manifest["data"] | {"metrics": {BPB.partition("/")[2]: rule}})
    doubt_about(runs, 15, "refuse", "lstm tok:13a, transformer tok:none")


def test_16_answers_seen_in_training(runs):
    arm(runs, "lstm")
    answered(runs, "lstm", overlap={"examples": 200, "equal": 3, "long_answers": 200, "answers": 1, "long_prompts": 0})
    answered(runs, "transformer", overlap={"examples": 200, "equal": 0, "long_answers": 200, "answers": 1})
    doubt_about(runs, 16, "doubt", "lstm 3 of 200 examples, 1 long answers", "transformer 0 of 200")


def test_16_a_few_long_answers_that_occur_by_chance_are_no_doubt(runs):
    arm(runs, "lstm")
    answered(runs, "lstm", overlap={"examples": 200, "equal": 0, "long_answers": 200, "answers": 1})
    answered(runs, "transformer", overlap={"unknown": "its text is gone"})
    assert examine(between(runs)) == []


def test_17_different_decoding(runs):
    arm(runs, "lstm")
    answered(runs, "lstm", decoding="beams=4")
    answered(runs, "transformer")
    doubt_about(runs, 17, "doubt", "quiz, test split", "lstm beams=4, transformer greedy")


def test_17_different_decoding_of_the_conclusion(runs):
    arm(runs, "lstm")
    answered(runs, "lstm", decoding="beams=4", own=True)
    answered(runs, "transformer", own=True)
    doubt_about(runs, 17, "refuse", "lstm beams=4", only=False)  # the scored tokens are made up


def test_17_answers_by_the_same_settings_are_compared_if_there_are_such(runs):
    arm(runs, "lstm")
    for model, orders in (("lstm", ["greedy", "beams=4"]), ("transformer", ["beams=4", "greedy"])):
        for decoding in orders:
            answered(runs, model, decoding=decoding)
    comparison = between(runs)
    assert examine(comparison) == []
    assert [scored.decoding for scored in evaluations(comparison)] == ["beams=4", "greedy"]


def test_17_different_decoding_of_validations(runs):
    arm(runs, "lstm")
    for run in all_runs(runs):
        decoding = "beams=4" if run.manifest["choices"]["model"] == "lstm" else "greedy=true"
        run.update(data=run.manifest["data"] | {"decoding": decoding, "metrics": {BPB.partition("/")[2]: "exact"}})
    doubt_about(runs, 17, "refuse", "lstm beams=4, transformer greedy=true")


def test_18_answers_that_a_vocabulary_cannot_write(runs):
    arm(runs, "lstm")
    for run in all_runs(runs):
        data = run.manifest["data"]
        unspelled = 40 if run.manifest["choices"]["model"] == "lstm" else 0
        split = BPB.partition("/")[0]
        splits = {split: data["splits"][split] | {"examples": 200, "unspelled": unspelled}}
        run.update(data=data | {"splits": data["splits"] | splits, "metrics": {BPB.partition("/")[2]: "exact"}})
    doubt_about(runs, 18, "doubt", "lstm 20.0%, transformer 0.0%")
