from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from lmlab.commands.jobs import space_of
from lmlab.config.canonical import CONF
from lmlab.errors import UserError


@pytest.fixture
def launcher():
    """A launcher of ``lmlab train``, as far as composing needs it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        yield SimpleNamespace(
            config=config, hydra_context=SimpleNamespace(config_loader=GlobalHydra.instance().config_loader())
        )


def combinations(words, launcher):
    return [" ".join(job) for job in space_of(words, launcher).combinations()]


def test_an_option_of_one_arm_gives_jobs_in_that_arm_and_is_announced(launcher, capsys):
    assert combinations(["model=lstm,transformer", "model.mixer.heads=2,4"], launcher) == [
        "model=lstm",
        "model=transformer model.mixer.heads=2",
        "model=transformer model.mixer.heads=4",
    ]
    said = capsys.readouterr().out
    assert said == "Not every job has every option: model.mixer.heads only with model=transformer\n"


def test_options_depend_on_every_group(launcher, capsys):
    words = ["optimizer=adamw,muon", "model=lstm,transformer", "seed=1,2", "optimizer.momentum=0.9,0.95"]
    jobs = combinations(words, launcher)
    assert len(jobs) == 4 + 8
    assert all(("momentum" in job) == ("muon" in job) for job in jobs)
    assert "optimizer.momentum only with optimizer=muon" in capsys.readouterr().out


def test_nothing_is_announced_where_every_job_has_every_option(launcher, capsys):
    assert len(combinations(["model=lstm,gru", "optimizer.lr=1e-3,3e-3"], launcher)) == 4
    assert len(combinations(["optimizer.lr=1e-3,3e-3"], launcher)) == 2
    assert capsys.readouterr().out == ""


def test_an_option_that_no_arm_has_is_refused_with_a_hint(launcher):
    with pytest.raises(
        UserError, match=r"model.mixer.hedas: no such option in any job \(did you mean 'model.mixer.heads'"
    ):
        space_of(["model=lstm,transformer", "model.mixer.hedas=2,4"], launcher)


def test_added_options_are_in_every_job(launcher):
    assert len(combinations(["model=lstm,transformer", "+model.mixer.heads=2,4"], launcher)) == 4


@pytest.mark.parametrize("search", [["-m"], ["sweep=random", "sweep.trials=4"], ["sweep=optuna"]])
def test_a_sweep_in_which_not_all_can_have_the_size_is_refused_before_any_job(search, lmlab, small, tmp_path):
    words = [word for word in small if not word.startswith("model.width")]
    done = lmlab("train", *search, *words, "model=lstm,rnn", "seed=1,2", "model.parameters=60k", check=False)
    assert done.returncode == 1 and not list((tmp_path / "outputs" / "sweeps").glob("*"))
    assert not (tmp_path / "outputs" / "runs").exists()
    (line,) = [line for line in done.stderr.splitlines() if "model.parameters" in line]
    assert "model.parameters=60k: not within 1 % for model=lstm (" in line and "; within it for model=rnn (" in line
    assert "is the nearest that fits all, or model.parameters_within=0.0" in line
