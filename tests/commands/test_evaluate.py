from lmlab.commands.evaluate import record
from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run


def test_a_score_replaces_those_of_the_same_code_alone(tmp_path, capsys):
    run = Run(tmp_path)
    settings = {"split": "validation", "checkpoint": "final"}
    for loss, code, other in (
        (1.0, "first", {}),
        (2.0, "first", {}),
        (3.0, "second", {}),
        (4.0, "second", {"split": "test"}),
    ):
        record(run, settings | other, {"answers": {"loss": loss}}, code)
    rows = [(row["metrics"]["answers"]["loss"], row["code"]) for row in read_jsonl(tmp_path / "evaluations.jsonl")]
    assert rows == [(2.0, "first"), (3.0, "second"), (4.0, "second")]
    assert capsys.readouterr().out.count("by other code; it is kept") == 1
