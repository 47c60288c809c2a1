import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_runs import write_run

from lmlab.analysis.records import Record, read
from lmlab.analysis.selection import directories
from lmlab.runs.lookup import find
from lmlab.runs.run import Run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs", "model=lstm")


def change(run, **fields):
    run.update(**fields)
    return Record.of(run)


def test_a_sound_run_has_no_problems(run):
    record = Record.of(run)
    assert record.problems == [] and record.status == "finished" and record.copy == 1
    assert len(record.curves.columns["step"]) == 55 and not record.is_task


def cut(name, end):
    def damage(run):
        (run.path / name).write_bytes((run.path / name).read_bytes()[:end])

    return damage


def written(name, content):
    return lambda run: (run.path / name).write_bytes(content)


def replaced(**fields):
    return lambda run: (run.path / "run.json").write_text(json.dumps(run.manifest | fields))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut("run.json", 300), "run.json cannot be read"),
        (cut("config.yaml", -1), "config.yaml cannot be read (its last line is cut short)"),
        (cut("config.yaml", 1000), "config.yaml cannot be read"),
        (cut("config.yaml", 0), "config.yaml cannot be read"),
        (written("config.yaml", b"seed: 1\n"), "config.yaml is no configuration of a run"),
        (written("run.json", b"[]"), "no manifest of a run"),
        (written("run.json", b"\x80\x81\xff"), "run.json cannot be read"),
        (written("config.yaml", b"\x00\x01junk\n"), "config.yaml cannot be read"),
        (replaced(version=99), "written in version 99"),
        (replaced(status="done"), "status=done: unknown"),
        (replaced(seed=None), "seed=None"),
        (replaced(metrics={"validation/loss": "low"}), "metrics.validation/loss='low'"),
        (lambda run: (run.path / "run.json").unlink(), "not a run directory"),
    ],
)
def test_what_cannot_be_read_is_named_and_hides_nothing_else(run, damage, said):
    other = write_run(run.path.parent, "model=lstm", seed=2)
    damage(run)
    found = read(directories(run.path.parent))
    assert [record.run for record in found.readable] == [other]
    (message,) = found.unreadable.values()
    assert list(found.unreadable) == [run.path] and said in message and str(run.path) in message


def test_links_that_lead_nowhere_and_folders_that_are_no_run_are_named(run):
    folder = run.path.parent
    (folder / "loop").symlink_to("loop")
    (folder / "empty").mkdir()
    (folder / "same").symlink_to(run.path)
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").write_text("")
    found = read(directories(folder))
    assert [record.run for record in found.readable] == [run]
    assert sorted(path.name for path in found.unreadable) == ["empty", "loop"]
    assert directories(folder / "missing") == []


def test_what_the_system_refuses_is_one_line(run, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    record = Record.of(run)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_text", refuse)
        assert "run.json cannot be read: Permission denied" in read([run]).unreadable[run.path]
    with monkeypatch.context() as patch:
        (run.path / "curves.npz").unlink()
        patch.setattr("pathlib.Path.open", refuse)
        assert record.problems == ["metrics.jsonl cannot be read: Permission denied"]


def test_what_does_not_prevent_use_is_marked(run):
    content = run.metrics.read_bytes()
    lines = content.split(b"\n")
    damaged = [*lines[:9], lines[9][:30] + lines[10], *lines[11:40], *lines[35:-1], b'{"step": 9']
    run.metrics.write_bytes(b"\n".join(damaged))
    record = change(run, metrics={"validation/loss": math.nan})
    assert [problem.split(" (")[0] for problem in record.problems] == [
        "validation/loss is nan",
        "metrics.jsonl: skipped 1 invalid lines",
        "metrics.jsonl: skipped the last line, which is cut short",
        "metrics.jsonl: skipped 5 rows that repeat earlier steps",
    ]
    tokens, loss = record.curves.curve("train/loss")
    assert (tokens[1:] > tokens[:-1]).all() and not any(map(math.isnan, loss))


def test_a_run_without_metrics_has_no_curves_and_says_so_unless_they_may_come(run):
    run.metrics.unlink()
    record = Record.of(run)
    assert record.problems == ["metrics.jsonl is missing"]
    assert record.curves.curve("train/loss") is None and record.curves.axis("flops").size == 0
    assert change(run, status="created").problems == []


def test_a_changed_configuration_is_marked(run):
    path = run.path / "config.yaml"
    path.write_text(path.read_text().replace("seed: 1\n", "seed: 12\n"))
    assert "config.yaml does not match the run" in Record.of(run).problems[0]


def test_a_run_that_ends_while_it_is_looked_at_is_not_called_interrupted(run, monkeypatch):
    run.update(status="running")

    def ends(self):
        self.update(status="finished")
        return False

    monkeypatch.setattr(Run, "is_locked", ends)
    assert Record.of(run).status == "finished"


def test_each_file_of_a_run_is_read_once(run, monkeypatch):
    seen = []
    original = io.open

    def counting(file, *arguments, **options):
        seen.append(Path(file).name)
        return original(file, *arguments, **options)

    monkeypatch.setattr(io, "open", counting)  # what paths are opened by
    record = Record.of(run)
    _ = record.status, record.metric("validation/loss"), record.curves, record.problems, record.curves
    assert sorted(seen) == ["config.json", "config.yaml", "curves.npz", "run.json"]


@pytest.mark.parametrize(
    ("change", "way", "counts"),
    [
        ({}, "fixed_window", True),
        ({}, "sliding_window", False),
        ({"checkpoint": "best"}, "fixed_window", False),
        ({"context": 64}, "fixed_window", False),
        ({"stride": 1, "streams": 2}, "fixed_window", True),
        ({"text": "other.txt"}, "fixed_window", False),
    ],
)
def test_evaluations_count_where_they_score_as_a_validation_does(run, change, way, counts):
    settings = {"split": "test", "checkpoint": "final", "streams": 8, "context": 128, "stride": 64} | change
    row = {"settings": settings, "metrics": {way: {"loss": 1.25, "tokens": 10}}}
    (run.path / "evaluations.jsonl").write_text(json.dumps(row) + "\n")
    record = Record.of(run)
    assert record.metric("test/loss") == (1.25 if counts else None)
    assert ("test/loss" in record.scores) == counts and record.metric("test/tokens") is None
    assert record.metric("validation/loss") == run.manifest["metrics"]["validation/loss"]


@pytest.mark.parametrize(
    "paths, corpus",
    [
        (None, "stdlib"),
        ("/x/a.txt", "a.txt"),
        (["/x/a.txt", "/x/b"], "a.txt and b"),
        ({"train": "/x/a.txt", "validation": "/x/b.txt", "test": "/x/c.txt"}, "a.txt and 2 more"),
    ],
)
def test_a_corpus_of_local_text_is_called_by_its_files(run, paths, corpus):
    record = Record.of(run)
    assert replace(record, config=record.config | {"data": {"paths": paths}}).corpus == corpus


def test_a_run_is_referred_to_by_its_directory_where_no_command_finds_its_id(run, tmp_path):
    assert Record.of(run).reference == Record.of(run, home=run.path.parent).reference == run.id
    reference = Record.of(run, home=tmp_path / "other").reference
    assert find(reference, tmp_path / "other").id == run.id
