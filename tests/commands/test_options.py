from pathlib import Path

import pytest
import yaml

from lmlab.commands import options
from lmlab.config import CONF
from lmlab.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A user's folder, in use."""
    made = tmp_path / "mine"
    made.mkdir()
    monkeypatch.setattr(options, "_folder", made)
    monkeypatch.setattr(options, "_in_place", {})
    return made


def write(folder: Path, option: str, text: str) -> None:
    path = folder / f"{option}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


LEAKY = "_target_: lmlab.models.mixers.rnn.RNN\n_partial_: true\n"


@pytest.mark.parametrize(
    "defaults",
    [
        "[override optimizer: adam, override data: parity, override mixer: leaky]",
        "[override /optimizer: adam, override /data: parity, override /mixer: leaky]",
        "[optimizer: adam, /data: parity, mixer: leaky, _self_]",
        "[override /optimizer@_global_.optimizer: adam, _self_, override data: parity, /mixer: leaky]",
    ],
)
@pytest.mark.parametrize("header", ["", "# @package _global_\n"])
def test_an_experiment_need_not_say_what_follows_from_its_folder(folder, compose, header, defaults):
    write(folder, "mixer/leaky", LEAKY)
    write(folder, "experiment/mine", f"{header}defaults: {defaults}\nbatch: {{size: 3}}\n")
    config = compose("experiment=mine")
    assert config["batch"]["size"] == 3
    assert config["optimizer"]["_target_"].endswith(".adam") and config["data"]["_target_"].endswith(".Parity")
    assert config["model"]["mixer"]["_target_"].endswith(".RNN")
    assert compose("experiment=mine", "optimizer=sgd")["optimizer"]["_target_"].endswith(".sgd"), (
        "the command line wins"
    )


def test_a_model_of_ones_own_chooses_its_parts(folder, compose):
    write(folder, "mixer/leaky", LEAKY)
    write(folder, "model/mine", "defaults: [custom, override mixer: leaky]\nwidth: 32\n")
    config = compose("model=mine")
    assert config["model"]["mixer"]["_target_"].endswith(".RNN") and config["model"]["width"] == 32
    assert config["name"] == "mine-stdlib"


def test_a_users_file_takes_the_place_of_lmlabs_and_that_is_said_once(folder, compose, capsys):
    shipped = yaml.safe_load((CONF / "optimizer" / "adamw.yaml").read_text())
    write(folder, "optimizer/adamw", yaml.dump(shipped | {"lr": 0.5}))
    write(folder, "optimizer/own", yaml.dump(shipped | {"lr": 0.25}))
    write(folder, "train", "nothing: 1\n")
    assert compose("optimizer=own")["optimizer"]["lr"] == 0.25
    options.say_in_place()
    assert capsys.readouterr().err == "", "a name of its own hides nothing"
    for _ in range(2):
        config = compose()
        assert config["optimizer"]["lr"] == 0.5
        options.say_in_place()
    path = folder / "optimizer" / "adamw.yaml"
    assert capsys.readouterr().err == f"optimizer=adamw: {path} takes the place of lmlab's own\n"
    assert "nothing" not in config, "the commands' configurations stay lmlab's"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: [adamw, _self_]\nlr: 1\n", "its defaults name itself"),
        ("lr: [1\n", "is no YAML"),
    ],
)
def test_a_file_that_cannot_be_composed_is_named(folder, compose, text, message):
    write(folder, "optimizer/adamw", text)
    with pytest.raises(UserError, match=message) as refused:
        compose()
    assert str(refused.value).startswith(f"{folder}/optimizer/adamw.yaml: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=lstm"], "lstm"),
        (["mixer=gru"], "gru"),
        (["model=custom"], "custom"),
        (["model=custom", "mixer=mamba2"], "mamba2"),
        (["model=custom", "mixer=mamba2", "channel=mlp", "block=prenorm"], "mamba2-mlp-prenorm"),
        (["model=transformer", "mixer=gru"], "transformer-gru"),
        (["model=transformer", "channel=mlp"], "transformer-mlp"),
        (["model=awd_lstm_mos", "mixer=gru"], "awd_lstm_mos-gru"),
        (["model=hybrid", "mixer=gru"], "hybrid"),
        (["model=hf"], "hf"),
    ],
)
def test_a_model_is_called_by_what_was_chosen(compose, words, expected):
    assert compose(*words)["name"] == f"{expected}-stdlib"


@pytest.mark.parametrize("model", options.options_of("model"))
def test_every_model_of_lmlabs_is_called_by_its_name(compose, model):
    assert compose(f"model={model}")["name"] == f"{model}-stdlib"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("override optimizer: sgd\n", "choices stand in the list defaults, as - override /optimizer: sgd"),
        ("model: lstm\n", "choices stand in the list defaults, as - override /model: lstm"),
        ("optimizer.lr: 1e-3\n", "optimizer.lr: expected a section, as optimizer: {lr: ...}"),
        ("defaults: {optimizer: sgd}\n", "defaults: expected a list"),
        ("- a\n", "expected options as key: value, got list"),
        ("a: [1\n", "is no YAML (line 2: "),
        ("optimizer: {lr: '${x'}\n", "optimizer.lr: ${ begins a reference"),
    ],
)
def test_a_users_file_that_says_something_in_the_wrong_place_is_named(folder, compose, text, message):
    write(folder, "experiment/mine", text)
    with pytest.raises(UserError) as refused:
        compose("experiment=mine")
    shown = str(refused.value)
    assert shown.startswith(f"{folder}/experiment/mine.yaml: ") and message in shown and "\n" not in shown


def test_texts_in_a_users_file_are_literal(folder, compose):
    write(folder, "experiment/mine", "tags: ['${x}', 'costs ${']\nname: run-${seed}\n")
    config = compose("experiment=mine", "seed=7")
    assert config["tags"] == ["${x}", "costs ${"] and config["name"] == "run-7"


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="--config-dir=.*/nowhere: there is no folder"):
        options.use_folder(["--config-dir", str(tmp_path / "nowhere")])
    options.use_folder([])


def test_the_choices_that_have_an_option():
    assert options.having("data.paths") == {"data": ["text"]}
    assert "sgd" in options.having("optimizer.momentum")["optimizer"]
    assert "adamw" not in options.having("optimizer.momentum")["optimizer"]
    assert set(options.having("sweep.trials")["sweep"]) == {"halving", "optuna", "random"}
    assert options.having("logger.wandb.notes") == {"logger": ["wandb"]}
    assert "attention" in options.having("model.mixer.heads")["mixer"]
    assert options.having("nothing.like.it") == {}
