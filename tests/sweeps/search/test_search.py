"""Every option of the group ``sweep``, as it is composed and built."""

import subprocess
import sys
import textwrap

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from synthetic_runs import BY_LOSS

from lmlab.config.canonical import CONF
from lmlab.errors import UserError
from lmlab.sweeps.options import SweepOptions
from lmlab.sweeps.search import Search, Space, make

OPTIONS = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))


def section(*overrides):
    """The section ``sweep``, as Hydra's sweeper is handed it."""
    node = {"_target_": "a.Sweeper", "_recursive_": False, "search": "${oc.select:sweep,null}", "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="handed_the_search", node=node)
    words = ["hydra/sweeper=handed_the_search", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra_compose("train", words, return_hydra_config=True)
    search = config.hydra.sweeper.search
    options = SweepOptions.read(OmegaConf.to_container(search, resolve=True)).search
    assert (config.hydra.mode is None) == (not options), "choosing a search is asking for a sweep"
    return options or None


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_builds(option, tmp_path):
    if option == "optuna":
        pytest.importorskip("optuna")
    search = make(section(f"sweep={option}"), Space(["seed=1,2,3", f"sweep={option}"]), tmp_path, lambda: BY_LOSS)
    assert isinstance(search, Search)
    first = search.ask()
    assert first.number == 0 and first.overrides[0] in ("seed=1", "seed=2", "seed=3")


def test_without_one_every_combination_is_computed(tmp_path):
    search = make(section(), Space(["seed=1,2", "a=x,y"]), tmp_path, lambda: BY_LOSS)
    assert [search.ask().overrides for _ in range(4)] == [
        ["seed=1", "a=x"],
        ["seed=1", "a=y"],
        ["seed=2", "a=x"],
        ["seed=2", "a=y"],
    ]


def test_an_experiment_may_choose_a_search():
    assert section("experiment=diagnostics", "sweep=random", "sweep.trials=5")["trials"] == 5


def test_options_that_are_sections_can_be_given_on_the_command_line(tmp_path):
    pytest.importorskip("optuna")
    words = ["sweep=optuna", "sweep.sampler_options={multivariate:true,n_startup_trials:3}"]
    words.append("sweep.objectives={validation/loss:minimize,timings/seconds:minimize}")
    found = section(*words)
    assert found["sampler_options"] == {"multivariate": True, "n_startup_trials": 3}
    search = make(found, Space(["seed=1,2"]), tmp_path, lambda: BY_LOSS)
    assert search.objectives == {"validation/loss": "minimize", "timings/seconds": "minimize"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trails": 3}, r"sweep\.trails: Random has no such option \(did you mean 'trials'\?\)"),
        ({"trials": "many"}, r"sweep\.trials=many: expected a whole number"),
        ({"_target_": "os.system"}, r"sweep\._target_=os\.system: not allowed"),
    ],
)
def test_options_are_held_against_the_signature(change, message, tmp_path):
    with pytest.raises(UserError, match=message):
        make(section("sweep=random") | change, Space(["seed=1,2"]), tmp_path, lambda: BY_LOSS)


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_showing_what_a_sweep_is_made_of_imports_nothing_heavy(flags, tmp_path):
    code = textwrap.dedent(f"""
        import sys
        import lmlab.sweeps.search
        sys.argv = ["lmlab", "train", "sweep=optuna", *{flags!r}]
        from lmlab.cli import main
        try:
            main()
        except SystemExit as end:
            assert not end.code, end.code
        heavy = {{"torch", "numpy", "optuna", "sqlalchemy"}} & set(sys.modules)
        assert not heavy, heavy
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lmlab.sweeps.search.optuna.Optuna" in done.stdout and not list(tmp_path.iterdir())


def test_a_search_whose_library_is_missing_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lmlab.sweeps.search.optuna", raising=False)
    with pytest.raises(UserError, match=r"Optuna is not installed: pip install 'lmlab\[optuna\]'"):
        make({"_target_": "lmlab.sweeps.search.optuna.Optuna"}, Space(["seed=1,2"]), tmp_path, lambda: BY_LOSS)
