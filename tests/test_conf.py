"""Every file under conf/ composes, fits the signatures it names, and builds."""

from pathlib import Path

import pytest
import torch

from lmlab.config import CONF, build, identity, validate
from lmlab.models.language_model import LanguageModel
from lmlab.training.preflight import check_objects
from lmlab.training.settings import Settings

COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "app")
OPTIONS = sorted(
    (path.parent.name, path.stem)
    for path in CONF.glob("*/*.yaml")
    if not path.read_text().startswith("# @package _global_")
)
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def overrides_for(group: str, option: str) -> list[str]:
    """The override that chooses an option, and what else it needs."""
    chosen = [f"{group}=[{option}]" if group == "logger" else f"{group}={option}", "data=text", "data.paths=x.txt"]
    if group == "data":
        chosen = [f"data={option}", *(["data.paths=x.txt"] if option == "text" else [])]
    if group == "channel" and option != "none":
        chosen.append("block=prenorm")
    if (group, option) == ("trainer", "gpu"):
        chosen.append("trainer.accelerator=cpu")
    return chosen


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, compose):
    config = compose(*(["data=stdlib"] if command == "train" else []), command=command)
    assert config["paths"]["outputs"]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_fits_its_signature_and_builds(group, option, compose):
    config = compose(*overrides_for(group, option), command="plan" if group == "device" else "train")
    validate(config)
    check_objects(config, Settings.of(config))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_fits_its_signatures_and_builds(experiment, compose):
    config = compose(f"experiment={experiment}")
    validate(config)
    check_objects(config, Settings.of(config))


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_no_file_is_out_of_reach(path: Path):
    """A file is a command's, an option of a group, or the part that all commands share."""
    hydra = CONF / "hydra"
    assert path.parent in (CONF, *[folder for top in (CONF, hydra) for folder in top.iterdir() if folder.is_dir()])


def test_the_arms_of_the_main_comparison_are_of_equal_size(compose):
    sizes = {}
    for model in ("lstm", "transformer"):
        config = compose("experiment=rnn_vs_transformer", f"model={model}")
        with torch.device("meta"):
            built = build(config["model"], vocabulary=config["tokenizer"]["size"], context=config["batch"]["context"])
        assert isinstance(built, LanguageModel)
        sizes[model] = sum(parameter.numel() for parameter in built.parameters())
    assert sizes["lstm"] == pytest.approx(sizes["transformer"], rel=0.01), sizes


def test_the_article_s_defaults(compose):
    config = compose("experiment=article", "data=wikitext2")
    assert config["tokenizer"] == {"_target_": "lmlab.data.tokenizers.Word", "size": 10_000}
    assert config["model"]["width"] == 128 and config["model"]["depth"] == 3
    assert config["optimizer"]["_target_"].endswith(".adam") and config["optimizer"]["lr"] == 1e-3
    assert config["objective"] == {"_target_": "lmlab.training.objectives.CrossEntropy", "label_smoothing": 0.0}


def test_paths_and_loggers_are_no_part_of_a_runs_identity(compose, tmp_path):
    first = compose("data=text", "data.paths=x.txt")
    second = compose("data=text", "data.paths=x.txt", "logger=[]", "progress=false", outputs=tmp_path / "elsewhere")
    third = compose("data=text", "data.paths=x.txt", "seed=2")
    assert identity(first) == identity(second) != identity(third)
