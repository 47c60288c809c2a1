"""Options of every sweep, on the command line: refused before anything starts."""

import pytest

ZIP = "sweep.zip=[model.width,optimizer.lr]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((ZIP, "model.width=16,32", "optimizer.lr=1e-3,3e-4"), f"{ZIP}: pairs the values of a sweep, which needs -m"),
        ((ZIP,), f"{ZIP}: there is one job; -m makes a sweep of several values"),
        (("sweep.stop_after=1",), "sweep.stop_after=1: there is one job; -m makes a sweep of several values"),
        (
            ("-m", ZIP, "model.width=16,32,64", "optimizer.lr=1e-3,3e-4"),
            f"{ZIP}: expected as many values for each, but model.width has 3, optimizer.lr has 2",
        ),
        (
            ("-m", "sweep.zip=[model.widht,optimizer.lr]", "model.width=16,32", "optimizer.lr=1e-3,3e-4"),
            "sweep.zip=[model.widht,optimizer.lr]: model.widht is not varied in this sweep (did you mean 'model.width",
        ),
        (
            ("-m", "sweep.stop_after=0", "seed=1,2"),
            "sweep.stop_after=0: expected a number of failed jobs of at",
        ),
    ],
)
def test_options_of_a_sweep_that_cannot_be_meant_leave_nothing_behind(words, message, lmlab, tmp_path):
    done = lmlab("train", *words, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"lmlab train: {message}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not [*tmp_path.glob("outputs/sweeps/*/sweep.json")] and not (tmp_path / "outputs" / "runs").exists()


def test_a_study_pairs_nothing(lmlab):
    done = lmlab("study", "experiment=recall", ZIP, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"lmlab study: {ZIP}: a study is its own search")


def test_models_side_by_side_can_be_paired(lmlab):
    words = ("-m", "model=lstm,gru", "model.width=16,32", "sweep.zip=[model,model.width]", "vocabulary=10")
    lines = [line.split()[:2] for line in lmlab("describe", *words).stdout.splitlines()]
    assert [line for line in lines if line[1:] and line[1].startswith("model.width=")] == [
        ["lstm", "model.width=16"],
        ["gru", "model.width=32"],
    ]


@pytest.mark.slow
def test_a_search_by_averaged_weights_is_refused_before_any_job_that_keeps_none(lmlab, small, tmp_path):
    pytest.importorskip("optuna")
    words = [*small, "model=lstm", "logger=[]", "sweep=optuna", "sweep.trials=2", "optimizer.lr=1e-3,2e-3"]
    words.append("sweep.objectives={ema/loss: minimize}")
    done = lmlab("train", *words, check=False)
    message = "sweep.objectives.ema/loss: metrics of averaged weights need callbacks=ema"
    assert done.returncode == 1 and message in done.stderr
    assert not (tmp_path / "outputs" / "runs").exists()
    assert "Best, job" in lmlab("train", *words, "callbacks=ema").stdout
