import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from synthetic_runs import write_run

from lmlab import removal
from lmlab.analysis.records import read
from lmlab.analysis.selection import directories
from lmlab.commands import clean, tables
from lmlab.config.experiment import Folders
from lmlab.errors import RunFailed, UserError
from lmlab.removal import ABANDONED, find
from lmlab.runs import files
from lmlab.runs.lookup import all_runs, existing
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Job, Sweep


@pytest.fixture
def outputs(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture
def lmlab_clean(outputs, capsys, monkeypatch):
    """Call the command in this process, and return what it prints as one line."""
    monkeypatch.setattr(tables.console, "_width", 200)

    def call(**options):
        capsys.readouterr()
        paths = {"outputs": str(outputs), "runs": str(outputs / "runs"), "cache": str(outputs / "cache")}
        names = ("what", "older", "runs", "name", "status", "tag")
        clean.main(paths, **dict.fromkeys(names) | {"yes": True, "where": {}} | options)
        return " ".join(capsys.readouterr().out.split())

    return call


def make(outputs: Path, seed: int = 1, *, wandb: bool | None = None, **fields) -> Run:
    """Write a run with two checkpoints of 400 bytes that share the best weights, and final weights, of 100 bytes each.

    Args:
        wandb: it was logged to W&B, which has all of it or not.
    """
    run = write_run(outputs / "runs", "model=lstm", seed=seed, points=2, **fields)
    run.checkpoints.mkdir()
    run.best.write_bytes(bytes(100))
    for step in (8, 10):
        folder = run.checkpoints / f"step-{step:08d}"
        folder.mkdir()
        (folder / "state").write_bytes(bytes(400))
        os.link(run.best, folder / run.best.name)
    run.weights.write_bytes(bytes(100))
    if wandb is not None:
        (run.path / "wandb.json").write_text(json.dumps({"id": "x", "complete": wandb}))
        (run.path / "wandb" / "files").mkdir(parents=True)
        (run.path / "wandb" / "files" / "log").write_bytes(bytes(10))
        (run.path / "wandb" / "latest").symlink_to("files")
    return run


def make_prepared(outputs: Path, fingerprint: str, name: str = "text-0123456789abcdef") -> Path:
    folder = outputs / "cache" / name
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"fingerprint": fingerprint}))
    (folder / "train.bin").write_bytes(bytes(50))
    return folder


def make_sweep(outputs: Path, status: str, *runs: Run, study: dict | None = None) -> Path:
    sweep = Sweep(outputs / "sweeps" / "one")
    sweep.begin(["model=lstm"], {}, {}, study)
    sweep.write([Job(n, [], path=str(run.path.absolute())) for n, run in enumerate(runs)])
    if status != "running":
        sweep.end(status)
    return sweep.path


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_only_what_resuming_needs_is_removed_of_a_finished_run(outputs, lmlab_clean):
    finished, failed = make(outputs, 1), make(outputs, 2, status="failed")
    interrupted, pruned = make(outputs, 3, status="interrupted"), make(outputs, 4, status="pruned")
    others = {run.path: tree(run.path) for run in (failed, interrupted, pruned)}
    (finished.checkpoints / "last.ckpt").write_bytes(bytes(7))  # of an earlier version
    said = lmlab_clean(what="checkpoints")
    # The best weights stay under a name of their own: to remove the others of the same file frees nothing.
    assert "807 B can be freed" in said and "Freed: 807 B (checkpoints: 3)" in said
    assert tree(finished.checkpoints) == {finished.best.name} and finished.weights.exists()
    assert {path: tree(path) - {"run.lock"} for path in others} == others


def test_commands_are_whole_in_a_narrow_terminal(outputs, capsys, lmlab_clean, monkeypatch):
    make(outputs)
    monkeypatch.setattr(tables.console, "_width", 40)
    where = "+where.data=stdlib +where.optimizer.lr=0.001"
    monkeypatch.setattr(clean, "typed_words", lambda: where.split())
    clean.show(find(Folders.below(outputs), ["checkpoints"]), ["checkpoints"], outputs)
    assert f"lmlab clean what=checkpoints {where} yes=true" in capsys.readouterr().out.splitlines()[-1]


def test_weights_go_only_when_asked_for(outputs, lmlab_clean):
    run = make(outputs)
    lmlab_clean()
    assert run.weights.exists() and run.best.exists()
    lmlab_clean(what="weights")
    assert not run.weights.exists() and not run.best.exists()
    assert read(directories(outputs / "runs")).readable[0].metric("validation/loss") is not None


def test_files_of_wandb_go_once_they_are_there(outputs, lmlab_clean):
    sent, waiting, never = make(outputs, 1, wandb=True), make(outputs, 2, wandb=False), make(outputs, 3)
    said = lmlab_clean(what="wandb")
    assert not (sent.path / "wandb").exists() and (sent.path / "wandb.json").exists()
    assert (waiting.path / "wandb" / "files" / "log").exists()
    assert f"left alone: {waiting.path.name}: its W&B files have not all been sent" in said
    assert never.path.name not in said


def test_prepared_data_that_a_run_uses_stay(outputs, lmlab_clean):
    make(outputs)  # its data have the fingerprint fff...
    used = make_prepared(outputs, "f" * 64, "text-aaaaaaaaaaaaaaaa")
    unused, own = make_prepared(outputs, "0" * 64), outputs / "cache" / "my-folder"
    own.mkdir()
    (outputs / "cache" / "files.json").write_text("{}")
    lmlab_clean(what="caches")
    assert used.exists() and own.exists() and (outputs / "cache" / "files.json").exists() and not unused.exists()


def test_decisions_of_cleaning_go(outputs, lmlab_clean):
    folder, own = (outputs / "cache" / name for name in ("cleaned-0123456789abcdef", "cleaned-mine"))
    for path in (folder, own):
        path.mkdir(parents=True)
        (path / "decisions.npy").touch()
    lmlab_clean(what="caches")
    assert own.exists() and not folder.exists()


def test_text_that_a_run_streams_stays_also_before_it_is_complete(outputs, lmlab_clean):
    make(outputs)  # its data have the fingerprint fff...
    begun = [make_prepared(outputs, fingerprint * 64, f".text-{fingerprint}.tmp") for fingerprint in "f0"]
    for folder in begun:
        folder.with_suffix(".lock").touch()
    lmlab_clean(what="caches")
    assert [folder.exists() for folder in begun] == [True, False]


def test_prepared_data_stay_where_a_run_cannot_be_read(outputs, lmlab_clean):
    make(outputs).path.joinpath("run.json").write_text("{")
    folder = make_prepared(outputs, "0" * 64)
    assert "a run that cannot be read may use it" in lmlab_clean(what="caches")
    assert folder.exists()


def test_temporary_files_go_once_nobody_writes_them(outputs, lmlab_clean):
    run, running = make(outputs, 1, status="interrupted"), make(outputs, 2, status="running")
    places = [
        run.path,
        outputs / "cache",
        outputs / "sweeps" / "a",
        outputs / "reports" / "b",
        outputs / "cache" / "curves",
    ]
    old, young = [], []
    for folder in places:
        folder.mkdir(parents=True, exist_ok=True)
        for names, age in ((old, 2 * ABANDONED), (young, 0)):
            path = folder / f".x.{age}.tmp"
            path.touch()
            os.utime(path, (path.stat().st_mtime - age,) * 2)
            names.append(path)
    half = [one.checkpoints / ".step-00000020.tmp" for one in (run, running)]
    for folder in half:
        folder.mkdir()
    held = running.try_lock()
    lmlab_clean(what="caches")
    held.release()
    assert not any(path.exists() for path in old) and all(path.exists() for path in young)
    assert [folder.exists() for folder in half] == [False, True]  # the lock says who writes there


def test_caches_of_logs_go(outputs, lmlab_clean):
    folder = outputs / "cache" / "curves"
    folder.mkdir(parents=True)
    (folder / "lstm-text-0123456789-0123456789ab").write_bytes(bytes(10))
    (folder / "mine.txt").touch()
    assert "Freed: 10 B (caches: 1)" in lmlab_clean()
    assert tree(folder) == {"mine.txt"}


def test_failed_runs_go_and_their_command_trains_them_anew(outputs, lmlab_clean):
    failed, finished = make(outputs, 1, status="failed"), make(outputs, 2)
    config = failed.config
    lmlab_clean(what="failed")
    assert [run.path for run in all_runs(outputs / "runs")] == [finished.path]
    assert not existing(config).exists


def test_runs_are_chosen_as_lmlab_runs_chooses_them(outputs, lmlab_clean):
    runs = {seed: make(outputs, seed, tags=["old"] if seed > 2 else []) for seed in (1, 2, 3, 4)}
    lmlab_clean(what="runs", where={"seed": 1})
    assert not runs[1].exists and runs[2].exists
    lmlab_clean(what="runs", tag="old", runs=[runs[3].id, runs[2].id])
    assert [runs[seed].exists for seed in (2, 3, 4)] == [True, False, True]
    lmlab_clean(what="checkpoints", tag="old")
    assert len(tree(runs[4].checkpoints)) == 1 < len(tree(runs[2].checkpoints))


def test_a_run_under_way_is_left_alone(outputs, lmlab_clean):
    running = make(outputs, 1, status="running", wandb=True)
    other = make(outputs, 2, status="failed")
    held, also = running.try_lock(), other.try_lock()  # one that somebody has begun to try again
    before = tree(outputs)
    with pytest.raises(RunFailed):
        lmlab_clean(what=["checkpoints", "wandb", "failed", "weights"])
    assert tree(outputs) == before
    said = lmlab_clean(what=["runs"], status="running")
    assert f"{running.path.name}: is running (pid {os.getpid()} on " in said
    held.release()
    also.release()


@pytest.mark.parametrize(
    ("study", "status", "reason"),
    [
        ({"arms": {}}, "finished", "belongs to the study one"),
        (None, "interrupted", "belongs to the sweep one, which has not ended"),
        (None, "running", "belongs to the sweep one, which is running"),
        (None, "finished", None),
    ],
)
def test_a_run_that_is_needed_keeps_its_weights_and_its_directory(outputs, lmlab_clean, study, status, reason):
    failed, finished, other = make(outputs, 1, status="failed"), make(outputs, 2), make(outputs, 3, status="failed")
    make_sweep(outputs, status, failed, finished, study=study)
    said = lmlab_clean(what=["failed", "weights", "checkpoints"])
    assert not other.exists and len(tree(finished.checkpoints)) <= 1
    assert failed.exists == finished.weights.exists() == (reason is not None)
    assert (reason or "Freed") in said


def test_a_run_that_another_one_began_with_stays(outputs, lmlab_clean):
    parent = make(outputs, 1)
    child = make(outputs, 2, start={"run": parent.id, "directory": str(parent.path)})
    said = lmlab_clean(what=["runs", "weights"], where={"model": "lstm"})
    assert parent.exists and parent.weights.exists() and not child.exists
    assert f"{parent.path.name}: {child.path.name} began with its weights" in said


def test_checkpoints_that_a_run_keeps_to_be_evaluated_are_weights(outputs, lmlab_clean):
    run = make(outputs, 1, options={"callbacks.checkpoint.keep": None})
    assert "keeps its checkpoints (callbacks.checkpoint.keep=null; what=weights)" in lmlab_clean(what="checkpoints")
    assert len(tree(run.checkpoints)) == 7
    lmlab_clean(what="weights")
    assert not tree(run.checkpoints) and not run.weights.exists()


def test_of_a_sweep_that_cannot_be_read_nothing_is_removed(outputs, lmlab_clean):
    run = make(outputs, 1, status="failed", sweep="one")
    (make_sweep(outputs, "finished", run) / "sweep.json").write_text("{")
    assert "belongs to one, a sweep that cannot be read" in lmlab_clean(what="failed") and run.exists


def test_links_are_not_followed(outputs, tmp_path, lmlab_clean):
    elsewhere = make(tmp_path / "other", 1, status="failed")
    linked = outputs / "runs" / elsewhere.path.name
    linked.parent.mkdir(parents=True)
    linked.symlink_to(elsewhere.path)
    run = make(outputs, 2, wandb=True)
    for name in ("checkpoints", "wandb"):
        shutil.move(run.path / name, tmp_path / name)
        (run.path / name).symlink_to(tmp_path / name)
    (outputs / "cache").symlink_to(make_prepared(tmp_path / "other", "0").parent)
    before = tree(tmp_path)
    said = lmlab_clean(what=["checkpoints", "wandb", "caches", "failed"])
    assert tree(tmp_path) == before
    assert f"{linked.name}: is a link" in said and "lies outside the outputs folder" in said


def test_links_in_a_run_are_removed_and_what_they_lead_to_stays(outputs, tmp_path, lmlab_clean):
    run = make(outputs, status="failed", wandb=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("kept")
    (run.path / "wandb" / "mine").symlink_to(tmp_path / "mine")
    lmlab_clean(what="failed")
    assert not run.path.exists() and (tmp_path / "mine" / "text").read_text() == "kept"


def test_a_folder_of_runs_that_is_a_link_is_left_alone(outputs, tmp_path, lmlab_clean):
    run = make(tmp_path / "other", status="failed")
    outputs.mkdir()
    (outputs / "runs").symlink_to(run.path.parent)
    assert "is a link out of the outputs folder" in lmlab_clean() and run.exists


def test_what_lmlab_did_not_write_stays(outputs, lmlab_clean):
    folder = outputs / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    run = make(outputs, status="failed")
    (run.path / "notes.txt").touch()
    said = lmlab_clean(what="failed")
    assert (folder / "notes.txt").exists() and (run.path / "notes.txt").exists() and run.exists
    assert "mine: not a run directory" in said and "contains files that are not lmlab's (notes.txt)" in said


def test_a_kill_between_renaming_and_deleting_leaves_nothing_that_looks_like_a_run(outputs, lmlab_clean, monkeypatch):
    run = make(outputs, status="failed")
    config = run.config

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            lmlab_clean(what="failed")
    assert not run.path.exists() and not list(all_runs(outputs / "runs")) and not directories(outputs / "runs")
    assert not existing(config).exists
    (left,) = (outputs / "runs").iterdir()
    assert (left / run.path.name / "run.json").exists()
    assert "Freed" in lmlab_clean()
    assert not tree(outputs / "runs")


def test_what_may_not_be_deleted_is_named_in_a_line_and_the_rest_goes(outputs, lmlab_clean, monkeypatch, capsys):
    first, second = sorted((make(outputs, 1, status="failed"), make(outputs, 2, status="failed")), key=lambda r: r.path)
    rename = Path.rename

    def refuse(path, target):
        if path == first.path:
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RunFailed, match="1 thing could not be removed"):
        lmlab_clean(what="failed")
    said = " ".join(capsys.readouterr().out.split())
    assert f"not removed: {first.path.name}: Permission denied ({first.path})" in said
    assert first.exists and not second.exists and "failed: 1" in said
    assert list((outputs / "runs").iterdir()) == [first.path]


def test_a_run_that_somebody_finished_meanwhile_stays(outputs):
    run = make(outputs, status="failed")
    plan = find(Folders.below(outputs), ["failed"])
    run.update(status="finished")
    (kept,) = removal.remove_items(plan.items)
    assert kept.why == "is finished by now" and run.exists


def test_what_has_changed_lately_stays(outputs, lmlab_clean):
    old, new = make(outputs, 1), make(outputs, 2)
    path = old.path / "run.json"
    os.utime(path, (path.stat().st_mtime - 8 * 86_400,) * 2)
    lmlab_clean(what="checkpoints", older="7d")
    assert len(tree(old.checkpoints)) == 1 < len(tree(new.checkpoints))
    for text in ("7", "7 days", "-1d", "d"):
        with pytest.raises(UserError, match=f"older={text}: expected a number with a unit, as in 30m"):
            lmlab_clean(older=text)


def test_without_a_terminal_or_a_yes_nothing_is_removed(outputs, lmlab_clean, monkeypatch):
    run = make(outputs, status="failed")
    monkeypatch.setattr(sys, "argv", ["lmlab", "++where.seed=1", "paths.outputs=/my outputs"])
    before = tree(outputs)
    said = lmlab_clean(yes=False, where={"seed": 1})
    command = "lmlab clean what=failed +where.seed=1 'paths.outputs=/my outputs' yes=true"
    assert command in said and "Nothing was removed." in said and tree(outputs) == before
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    lmlab_clean(yes=False)
    assert run.exists
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    lmlab_clean(yes=False)
    assert not run.exists


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": "checkpoint"}, r"what=checkpoint: expected .* \(did you mean 'checkpoints'\?\)"),
        ({"what": "runs"}, "what=runs: would remove every run; choose some by"),
        ({"what": "caches", "tag": "old"}, "what=caches: do not belong to single runs; leave out tag="),
        ({"status": "done"}, "status=done: unknown"),
    ],
)
def test_words_that_make_no_sense(outputs, lmlab_clean, options, message):
    make(outputs, status="failed")
    before = tree(outputs)
    with pytest.raises(UserError, match=message):
        lmlab_clean(**options)
    assert tree(outputs) == before


def test_an_empty_outputs_folder(outputs, lmlab_clean):
    assert "Nothing to free" in lmlab_clean() and not outputs.exists()


def test_every_file_of_a_run_is_known(lmlab, small, tmp_path):
    lmlab("train", *small)
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    assert run.foreign() == []
    recorded = run.manifest
    said = lmlab("clean", "what=[checkpoints,caches]", "yes=true").stdout
    assert "checkpoints" in said and tree(run.checkpoints) == {run.best.name}
    assert "already finished; showing the recorded result" in lmlab("train", *small).stdout
    assert run.manifest == recorded
    scores = lmlab("evaluate", f"run={run.id}", "checkpoint=best", "accelerator=cpu", "metrics=[fixed_window]").stdout
    assert "fixed_window" in scores
