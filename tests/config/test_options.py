import subprocess
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException

from lmlab.commands.hints import explain
from lmlab.config import options
from lmlab.config.canonical import CONF
from lmlab.config.options import LONGEST, as_name, check_name
from lmlab.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A user's folder, in use."""
    made = tmp_path / "mine"
    made.mkdir()
    monkeypatch.setattr(options, "_folder", made)
    monkeypatch.setattr(options, "_notes", {})
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
    write(folder, "model/mixer/leaky", LEAKY)
    write(folder, "experiment/mine", f"{header}defaults: {defaults}\nbatch: {{size: 3}}\n")
    config = compose("experiment=mine")
    assert config["batch"]["size"] == 3
    assert config["optimizer"]["_target_"].endswith(".adam") and config["data"]["_target_"].endswith(".Parity")
    assert config["model"]["mixer"]["_target_"].endswith(".RNN")
    assert compose("experiment=mine", "optimizer=sgd")["optimizer"]["_target_"].endswith(".sgd"), (
        "the command line wins"
    )


def test_a_model_of_ones_own_chooses_its_parts(folder, compose):
    write(folder, "model/mixer/leaky", LEAKY)
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
    options.say_notes()
    assert capsys.readouterr().err == "", "a name of its own hides nothing"
    for _ in range(2):
        config = compose()
        assert config["optimizer"]["lr"] == 0.5
        options.say_notes()
    path = folder / "optimizer" / "adamw.yaml"
    assert capsys.readouterr().err == f"optimizer=adamw is {path}, not the one of lmlab\n"
    assert "nothing" not in config, "the commands' configurations stay lmlab's"


def test_a_part_of_a_model_takes_the_place_of_lmlabs(folder, compose, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    write(folder, "model/mixer/lstm", LEAKY)
    write(folder, "model/mixer/leaky", LEAKY)
    assert compose("mixer=lstm", "data=parity")["model"]["mixer"]["_target_"].endswith(".RNN")
    options.say_notes()
    assert capsys.readouterr().err == "mixer=lstm is mine/model/mixer/lstm.yaml, not the one of lmlab\n"
    choices = {"model": "lstm", "mixer": "lstm", "channel": "none", "optimizer": "adamw"}
    assert options.replaced(choices) == {"mixer": str(folder / "model" / "mixer" / "lstm.yaml")}
    assert options.replaced(choices | {"mixer": "leaky"}) == {}


def test_an_experiment_without_its_first_line_is_read_as_if_it_had_one_and_that_is_said(folder, compose, capsys):
    for name, header in (("bare", ""), ("whole", "# @package _global_\n")):
        write(folder, f"experiment/{name}", f"{header}batch: {{size: 3}}\n")
        assert compose(f"experiment={name}")["batch"]["size"] == 3
    options.say_notes()
    line = f"{folder}/experiment/bare.yaml: add the first line '# @package _global_' (it is read as if it were there)"
    assert capsys.readouterr().err.splitlines() == [line]


def test_an_experiment_of_another_package_is_refused(folder, compose):
    write(folder, "experiment/mine", "# @package experiment\nbatch: {size: 3}\n")
    with pytest.raises(UserError) as refused:
        compose("experiment=mine")
    expected = "expected the first line '# @package _global_', got '# @package experiment'"
    assert str(refused.value) == f"{folder}/experiment/mine.yaml: {expected}"


def test_options_where_nobody_looks_for_them_are_refused_with_the_command_that_moves_them(tmp_path, monkeypatch):
    monkeypatch.setattr(options, "_folder", None)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine", "mixer/leaky", LEAKY)
    with pytest.raises(UserError) as refused:
        options.use_folder(["--config-dir=mine"])
    move = "mkdir -p mine/model/ && mv mine/mixer mine/model/"
    assert str(refused.value) == f"mine/mixer: options of mixer belong in mine/model/mixer ({move})"
    subprocess.run(move, shell=True, check=True)
    options.use_folder(["--config-dir=mine"])
    assert "leaky" in options.options_of("mixer")


@pytest.mark.parametrize(
    "defaults",
    [
        "[base, mixer: leaky, channel: none, block: classic, head: softmax, _self_]",
        "[custom, override mixer: leaky]",
        "[custom, mixer: leaky, _self_]",
        "[custom, /mixer: leaky, _self_]",
        "[lstm, override /model/mixer: leaky]",
        "[custom, _self_, override /mixer@_global_.mixer: leaky]",  # as lmlab's own files were once written
        "[hybrid, mixer: leaky]",
    ],
)
def test_every_way_to_choose_a_part_of_a_model_of_ones_own(folder, compose, defaults):
    write(folder, "model/mixer/leaky", LEAKY)
    write(folder, "model/mine", f"defaults: {defaults}\nwidth: 32\npattern: null\n")
    model = compose("model=mine")["model"]
    assert model["mixer"]["_target_"].endswith(".RNN") and model["width"] == 32
    assert compose("model=mine", "mixer=gru")["model"]["mixer"]["_target_"].endswith(".GRU"), "the command line wins"


@pytest.mark.parametrize(
    ("option", "defaults"),
    [
        ("experiment/mine", "[override /mixer: gruu, _self_]"),
        ("model/mine", "[base, mixer: gruu, channel: none, block: classic, head: softmax]"),
    ],
)
def test_a_file_that_chooses_what_there_is_not_is_named(folder, compose, option, defaults):
    write(folder, option, f"defaults: {defaults}\n")
    word = option.replace("/", "=")
    with pytest.raises(HydraException) as refused:
        compose(word)
    expected = "mixer=gruu: no such option (did you mean 'gru'?)"
    assert explain(refused.value, "train", [word]) == f"{folder}/{option}.yaml: defaults: {expected}"
    with pytest.raises(HydraException) as refused:
        compose("mixer=gruu")
    assert explain(refused.value, "train", ["mixer=gruu"]) == expected, "typed, and in no file"


@pytest.mark.parametrize(
    "defaults", ["[override /tokenizer: word]", "[tokenizer: word]", "[override /tokenizer@_global_.tokenizer: word]"]
)
def test_data_of_ones_own_choose_their_tokenizer(folder, compose, defaults):
    write(folder, "data/mine", f"defaults: {defaults}\n_target_: lmlab.data.corpora.WikiText2\n")
    assert compose("data=mine")["tokenizer"]["_target_"].endswith(".Word")
    assert compose("data=mine", "tokenizer=byte")["tokenizer"]["_target_"].endswith(".Byte")


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
        ("override optimizer: sgd\n", "choices belong in the list defaults, as - override /optimizer: sgd"),
        ("mixer: gru\n", "choices belong in the list defaults, as - override /mixer: gru"),
        ("model: lstm\n", "choices belong in the list defaults, as - override /model: lstm"),
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
    assert options.having("data.documents") == {"data": ["text"]}
    assert {"text", "records"} <= set(options.having("data.paths")["data"])
    assert "sgd" in options.having("optimizer.momentum")["optimizer"]
    assert "adamw" not in options.having("optimizer.momentum")["optimizer"]
    assert set(options.having("sweep.trials")["sweep"]) == {"halving", "optuna", "random"}
    assert options.having("logger.wandb.notes") == {"logger": ["wandb"]}
    assert "attention" in options.having("model.mixer.heads")["mixer"]
    assert options.having("nothing.like.it") == {}


@pytest.mark.parametrize("name", ["lstm-text", "größe", "2024", "lr=3e-3+wd@1", "a" * LONGEST])
def test_a_name_that_a_directory_can_have(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "exp1/lr3",
        "../../elsewhere/x",
        "/tmp/x",
        "[red]x",
        ".hidden",
        "-m",
        "a b",
        "a\nb",
        "a,b",
        "a" * 300,
        "é" * 60,
    ],
)
def test_a_name_that_a_directory_cannot_have_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="^name") as refused:
        check_name(name)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200
    if name.strip("./-") and len(name.encode()) <= LONGEST:
        assert check_name(as_name(name)) in str(refused.value), "the message offers one that can be"


def test_whatever_a_model_is_called_makes_a_name():
    assert as_name("mine/leaky-stdlib") == "mine-leaky-stdlib"
    assert check_name(as_name("/" + "ü/" * 200))
