"""Mixtures of tasks from the command line: scored by part, beside trivial baselines, in every place that shows runs."""

import json
import os

import pytest

from lmlab.analysis.records import Record
from lmlab.analysis.tasks import have_tasks
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs

pytestmark = pytest.mark.slow

TINY = ["model.width=16", "model.depth=1", "trainer.threads=1", "trainer=cpu", "logger=[]"]


def test_a_mixture_is_shown_by_task_beside_trivial_baselines(lmlab, tmp_path):
    for name, number in (("train", 40), ("dev", 8)):
        rows = [{"question": f"Colour of {n}?", "answer": "red" if n % 4 else "blue"} for n in range(number)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text("all colours are nice\n" * 400)
    options = ["data=mixture", "data.weights={records: 1, text: 1}", "+data.parts.text.paths=text.txt"]
    options += ["+data.parts.records.paths={train: train.jsonl, validation: dev.jsonl}", "tokenizer=byte"]
    options += ['+data.parts.records.template={input: "{question}", answer: "{answer}"}', "batch.size=4"]
    options += ["+data.parts.records.length=8", "batch.context=40", "budget.tokens=3200", "validation.times=1"]
    done = lmlab("train", "-m", *TINY, *options, "model=lstm,gru", "seed=1,2")
    runs = list(all_runs(tmp_path / "outputs" / "runs"))
    records = [Record.of(run) for run in runs]
    assert len(runs) == 4 and have_tasks(records)
    for record in records:
        assert record.baselines["most frequent answer"] == {"records/exact_match": 75}  # 2 of 8 are blue
        assert record.baselines["first sentence"] == {"records/exact_match": 0}
        assert record.baselines["token frequencies"]["text/bits_per_byte"] > 3
    listed = lmlab("runs").stdout
    for shown in (done.stdout, listed):
        assert "Results by arm on the validation split" in shown and "better than every trivial baseline" in shown
        assert "most frequent answer" in shown and "token frequencies" in shown and "of 2 tasks" in shown
    scored = lmlab("evaluate", f"run={runs[0].id}", "split=records", "threads=1").stdout
    assert "most frequent answer" in scored and "75.0" in scored
    (row,) = read_jsonl(runs[0].path / "evaluations.jsonl")
    assert row["baselines"]["most frequent answer"] == {"exact_match": 75}
    lmlab("report", "formats=markdown", check=False)
    (page,) = (tmp_path / "outputs").rglob("report.md")
    text = page.read_text()
    assert "Scores on each task, and trivial baselines" in text and "Answers to tasks" in text
    assert text.count("most frequent answer") >= 2


@pytest.mark.skipif("LMLAB_CORPORA" not in os.environ, reason="LMLAB_CORPORA names no folder of corpora")
def test_the_recipe_of_four_tasks_trains_three_models_of_equal_size(lmlab, tmp_path):
    tiny = ["budget.tokens=6_144", "validation.tokens=640", "seed=1", "trainer.threads=1", "tokenizer.size=512"]
    done = lmlab("train", "experiment=tasks", *tiny, "model.parameters=60k")
    records = [Record.of(run) for run in all_runs(tmp_path / "outputs" / "runs")]
    assert sorted(record.architecture for record in records) == ["lstm", "mamba2", "transformer"]
    sizes = [record.manifest["sizes"]["parameters"]["total"] for record in records]
    assert max(sizes) < 1.02 * min(sizes)
    for task in ("wikitext2", "squad", "aeslc", "multi30k"):
        assert task in done.stdout
    assert "of 4 tasks" in done.stdout and "first sentence" in done.stdout
