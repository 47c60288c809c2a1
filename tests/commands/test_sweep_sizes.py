import pytest


@pytest.mark.parametrize("search", [["-m"], ["sweep=random", "sweep.trials=4"], ["sweep=optuna"]])
def test_a_sweep_in_which_not_all_can_have_the_size_is_refused_before_any_job(search, lmlab, small, tmp_path):
    words = [word for word in small if not word.startswith("model.width")]
    done = lmlab("train", *search, *words, "model=lstm,rnn", "seed=1,2", "model.parameters=60k", check=False)
    assert done.returncode == 1 and not list((tmp_path / "outputs" / "sweeps").glob("*"))
    assert not (tmp_path / "outputs" / "runs").exists()
    (line,) = [line for line in done.stderr.splitlines() if "model.parameters" in line]
    assert "model.parameters=60k: not within 1 % for model=lstm (" in line and "; within it for model=rnn (" in line
    assert "is the nearest that fits all, or model.parameters_within=0.0" in line
