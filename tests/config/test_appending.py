"""``option+=value``, through Hydra's own loader."""

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode

from lmlab.config.overrides import read
from lmlab.errors import UserError
from lmlab.sweeps.search import Grid, Space


@pytest.fixture
def composed(compose):
    return lambda *words, command="train": compose(*map(read, words), command=command)


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (["tags+=a"], ["a"]),
        (["tags+=a", "tags+=b c"], ["a", "b c"]),
        (["tags+=[a,b]", "tags+=[c]"], ["a", "b", "c"]),
        (["tags=[a]", "tags+=b"], ["a", "b"]),
        (["tags+=b", "tags=[a]"], ["a"]),
        (["tags=[a]", "tags+=[a,b]", "tags+=b"], ["a", "b"]),
        (["tags+=7"], ["7"]),
    ],
)
def test_words_add_to_a_list_from_left_to_right(words, tags, composed):
    assert [str(tag) for tag in composed(*words)["tags"]] == tags


def test_what_an_experiment_or_a_group_has_is_kept(composed):
    config = composed("model=hybrid", "model.pattern+=mamba2", "optimizer.betas+=0.5")
    assert config["model"]["pattern"] == ["mamba2", "mamba2", "rotary_attention", "mamba2"], "a pattern is no set"
    assert config["optimizer"]["betas"] == [0.9, 0.95, 0.5]
    assert composed("model.pattern+=gru")["model"]["pattern"] == ["gru"], "null is a list without elements"
    study = composed("experiment=recall", "study.seeds+=4", "study.arms.lstm+=model.depth=3", command="study")["study"]
    assert study["seeds"] == [1, 2, 3, 4] and study["arms"]["lstm"] == ["model=lstm", "model.depth=3"]


def test_a_text_that_may_be_a_list_becomes_one(composed):
    config = composed("data=text", "data.paths=a.txt", "data.paths+=b.txt", "data.paths+=a.txt")
    assert config["data"]["paths"] == ["a.txt", "b.txt"]
    assert composed("data=text", "data.paths+=b.txt")["data"]["paths"] == ["b.txt"]


def test_options_of_every_command_can_be_added_to(composed):
    assert composed("runs+=a", "runs+=b", command="runs")["runs"] == ["a", "b"]
    assert composed("formats+=latex", command="report")["formats"] == ["html", "latex"]
    assert composed("metrics+=[stateful]", command="evaluate")["metrics"] == [
        "fixed_window",
        "sliding_window",
        "stateful",
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed+=1", "seed+=1: seed is a whole number, not a list (seed=1 sets it)"),
        ("optimizer.lr+=1", "optimizer.lr+=1: optimizer.lr is a number, not a list"),
        ("rerun+=true", "rerun+=true: rerun is true or false, not a list (rerun=true sets it)"),
        ("name+=x", "name+=x: name is a text, not a list (name=x sets it)"),
        ("trainer.precision+=x", "trainer.precision+=x: trainer.precision is a text, not a list"),
        ("batch+=1", "batch+=1: batch is a section, not a list"),
        ("model+=gru", "model+=gru: a run has one option of model (model=gru chooses it)"),
        ("callbacks+=early_stoping", "callbacks+=early_stoping: no such option (did you mean 'early_stopping'?)"),
        ("tags+=", "tags+=: expected a value to add"),
        ("tags+=a,b", "tags+=a,b: expected tags+=[a,b] for several values (-m makes a sweep of them)"),
        ("callbacks+=a,b", "callbacks+=a,b: several values need -m, which makes a sweep"),
    ],
)
def test_what_is_no_list_is_refused_with_its_type(word, message, composed):
    with pytest.raises((UserError, HydraException)) as error:
        composed(word)
    assert message in str(error.value)


def test_an_option_that_there_is_not_is_unknown_as_with_an_equals_sign(lmlab):
    done = lmlab("train", "tgas+=x", check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "lmlab train: tgas: no such option (did you mean 'tags'?)"


def test_an_option_is_added_to_those_of_a_group(composed):
    default, early = composed(), composed("callbacks=early_stopping")
    assert composed("callbacks+=early_stopping")["callbacks"] == early["callbacks"]
    assert HydraConfig.get().runtime.choices["callbacks"] == "early_stopping", "it extends default"
    assert composed("callbacks=early_stopping", "callbacks+=default")["callbacks"] == early["callbacks"]
    assert composed("callbacks+=default")["callbacks"] == default["callbacks"]
    assert composed("callbacks+=early_stopping", "callbacks.early_stopping.patience=7")["callbacks"][
        "early_stopping"
    ] == {**early["callbacks"]["early_stopping"], "patience": 7}
    assert [*composed("logger+=tensorboard")["logger"]] == ["wandb", "tensorboard"]
    assert [*composed("logger=[]", "logger+=tensorboard")["logger"]] == ["tensorboard"]
    assert [*composed("experiment=recall", "logger+=[tensorboard,wandb]")["logger"]] == ["tensorboard", "wandb"]


def test_an_experiments_own_values_survive_what_is_added(composed):
    plain, added = (composed("experiment=rnn_vs_transformer", *words) for words in ([], ["callbacks+=early_stopping"]))
    for name, options in plain["callbacks"].items():
        assert added["callbacks"][name] == options


def test_a_users_option_is_added_beside_the_default_ones(lmlab, tmp_path):
    folder = tmp_path / "my_conf" / "callbacks"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("mine:\n  _target_: own.Mine\nsamples:\n  length: 3\n")
    (folder / "own.yaml").write_text("defaults: [default, _self_]\nsamples:\n  length: 5\n")

    def shown(*words: str) -> str:
        words = ("--config-dir", str(tmp_path / "my_conf"), *words)
        return lmlab("train", *words, "--cfg", "job", "--package", "callbacks").stdout

    text = shown("callbacks+=mine")
    assert "own.Mine" in text and "checkpoint:" in text and "length: 3" in text
    text = shown("callbacks=own", "callbacks+=early_stopping")
    assert "early_stopping:" in text and "length: 5" in text, "its default does not undo what was chosen"


def test_jobs_of_a_sweep_add_to_their_own_lists():
    words = ["tags=[x],[y]", "tags+=a", "tags+=b,c", "seed=1", "tags+=a"]
    jobs = [" ".join(job) for job in Space(words).combinations()]
    assert jobs == [f"tags=[{x}] tags+=a tags+={b} seed=1" for x in "xy" for b in "bc"]
    assert Space(["tags+=a", "tags=[b]"]).fixed == ["tags=[b]"], "from left to right"
    assert Space(["tags+=[b c,d]"]).fixed == ['tags+=["b c",d]']
    assert Grid(Space(["callbacks+=early_stopping"])).ask().overrides == ["callbacks+=early_stopping"]
    with pytest.raises(UserError, match=r"tags\+=c,d: tags is added to with several values twice"):
        Space(["tags+=a,b", "tags+=c,d"])


def test_additions_of_a_sweep_are_left_to_its_jobs():
    """The sweeper is given them as they were typed."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from lmlab.config.canonical import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        words = ["tags+=a", "tags+=b,c", "data.paths+=x.txt", "callbacks+=early_stopping", "hydra.verbose=true"]
        master = loader.load_configuration("train", words, RunMode.MULTIRUN)
        assert master.hydra.overrides.task == words[:4] and master.hydra.overrides.hydra == words[4:]
        job = loader.load_sweep_config(master, ["data=text", "tags+=a", "tags+=c", "data.paths+=x.txt"])
        assert list(job.tags) == ["a", "c"] and list(job.data.paths) == ["x.txt"]
        with pytest.raises(HydraException, match=r"Could not override 'data\.paths'"):
            loader.load_sweep_config(master, ["data.paths+=x.txt"])
