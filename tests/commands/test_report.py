"""``lmlab report`` from the command line, on run directories that were never trained."""

import pytest
from synthetic_runs import write_run

from lmlab.commands.report import _study_sweep
from lmlab.config.experiment import Folders
from lmlab.sweeps.sweep import Sweep


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "outputs" / "runs"


@pytest.mark.slow
def test_a_report_from_the_command_line(lmlab, folder, tmp_path):
    for model, loss in (("lstm", 1.5), ("transformer", 1.4)):
        for seed in (1, 2, 3):
            write_run(folder, f"model={model}", seed=seed, loss=loss, tags=["mine"] if seed < 3 else [])
    broken = folder / "lstm-broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    done = lmlab("report", "baseline=lstm", "formats=[html,latex,markdown]")
    assert "transformer reaches" in done.stdout and "] lower over 3 paired seeds (p = 0.0" in done.stdout
    assert "left out: 1 not part of the comparison; the report gives the reasons" in done.stdout
    (report,) = (tmp_path / "outputs" / "reports").iterdir()
    assert str(report / "report.html") in done.stdout and "Next: lmlab " in done.stdout
    assert report.name.startswith("lstm-transformer-stdlib-")
    page = (report / "report.html").read_text()
    assert "lstm-broken" in page and "transformer reaches" in page
    assert "over 3 paired seeds" in (report / "report.md").read_text()
    assert "lmlab report baseline=lstm 'formats=[html,latex,markdown]'" in (report / "report.md").read_text()
    assert "results.tex" in {path.name for path in (report / "tables").iterdir()}
    assert {"curve-train-loss.svg", "curve-train-loss.pdf"} <= {path.name for path in (report / "figures").iterdir()}
    again = lmlab("report", "tag=mine", "+where.model=lstm", f"output={tmp_path / 'mine'}")
    assert "lstm reaches" in again.stdout and "over 2 seeds; there is no second arm" in again.stdout
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["report.html"]
    (tmp_path / "browser").write_text(f"#!/bin/sh\necho $1 > {tmp_path / 'opened'}\n")
    (tmp_path / "browser").chmod(0o700)
    lmlab("report", "baseline=lstm", "open=true", BROWSER=str(tmp_path / "browser"))
    assert (tmp_path / "opened").read_text().strip() == (report / "report.html").as_uri()


def test_the_sweep_of_a_study_and_nothing_else_is_concluded_on_as_the_study_does(tmp_path):
    folders = Folders.below(tmp_path)
    study, plain = (Sweep(tmp_path / "sweeps" / name) for name in ("tuned-1a2b", "2026-01-01"))
    study.begin(["experiment=x"], {}, {}, {"arms": {}})
    plain.begin(["seed=1,2"], {}, {}, None)
    assert {_study_sweep(folders, runs).path for runs in ("tuned", [str(study.path)])} == {study.path}
    for runs in (None, "2026", "abc", ["tuned", "2026"]):
        assert _study_sweep(folders, runs) is None


@pytest.mark.slow
def test_what_does_not_compare_is_written_all_the_same_and_the_exit_code_says_so(lmlab, folder, tmp_path):
    for model in ("lstm", "transformer"):
        for seed in (1, 2):
            data = {"name": f"of {model}", "licence": "x", "fingerprint": model, "corpus_fingerprint": model}
            write_run(folder, f"model={model}", seed=seed, data=data)
    done = lmlab("report", check=False)
    assert done.returncode == 1
    assert "These runs cannot be compared, so there is no conclusion: " in done.stdout
    (report,) = (tmp_path / "outputs" / "reports").iterdir()
    assert "These runs cannot be compared" in (report / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs=12e5,abc"], "lmlab report: runs=12e5: neither a directory, nor a sweep, nor the start of a run's id"),
        (["+where.model=gru"], "lmlab report: where.model=gru: none of 1 runs has this"),
        (["metric=test/loss"], "no run has it yet; score the runs first: lmlab evaluate run="),
        (["metric=tset/loss"], "metric=tset/loss: the data of these runs have no split tset (did you mean 'test'?)"),
        (["formats=html,latx"], "formats=latx: expected html, markdown, latex, svg, pdf, png (did you mean 'latex'?)"),
        (["formats=latex", "open=true"], "open=true: opens the page, which formats= leaves out (add html)"),
        (["direction=up"], "direction=up: expected minimize or maximize"),
        (["metric=validation/los"], "metric=validation/los: unknown (did you mean 'validation/loss'?)"),
        (["arm=modle"], "arm=modle: none of these runs has this option (did you mean 'model'?)"),
        (["baselin=lstm"], "baselin: no such option (did you mean 'baseline'?)"),
    ],
)
def test_what_a_user_did_wrong_is_one_clear_line(arguments, message, lmlab, folder, tmp_path):
    write_run(folder, "model=lstm")
    done = lmlab("report", *arguments, check=False)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "outputs" / "reports").exists()
