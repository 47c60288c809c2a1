"""Every file under conf/ composes, fits the signatures it names, and builds."""

import pytest
import torch

from lmlab.config.build import build
from lmlab.config.canonical import CONF
from lmlab.config.check import validate
from lmlab.config.experiment import Experiment
from lmlab.config.identity import identity
from lmlab.config.options import MAY_BE_NULL, file_of, groups, options_of
from lmlab.models.language_model import LanguageModel
from lmlab.training.preflight import check_objects

COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "app")
OPTIONS = [
    (group, option)
    for group in groups()
    if group not in MAY_BE_NULL and not group.startswith("hydra/")
    for option in options_of(group)
]
EXPERIMENTS = options_of("experiment")
REQUIRED = {
    "text": ["data.paths=x.txt"],
    "hf": ["data.dataset=a/b"],
    "mixture": ["data.weights={stdlib: 1, wikitext2: 1}"],
    "records": ["data.paths=x.jsonl"],
    "continuation": ["data.paths=x.jsonl"],
    "multiple_choice": ["data.paths=x.jsonl"],
    "translation": ["data.source=en", "data.target=de", 'data.paths="x.{language}"'],
}
"""Options of data that have no value of their own."""


def overrides_for(group: str, option: str) -> list[str]:
    """The override that chooses an option, and what else it needs."""
    chosen = [f"{group}=[{option}]" if group == "logger" else f"{group}={option}", "data=text", "data.paths=x.txt"]
    if (group, option) == ("tokenizer", "pretrained"):
        chosen.append("tokenizer.path=tokenizer.json")
    if group == "data":
        chosen = [f"data={option}", *REQUIRED.get(option, [])]
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
    check_objects(Experiment.of(config))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_for_all_commands_of_its_options_and_all_launchers(experiment, compose):
    for command in ("describe", "plan", "data", "study"):
        assert compose(f"experiment={experiment}", command=command)["model"]
    for launcher in options_of("hydra/launcher"):
        assert compose(f"experiment={experiment}", f"hydra/launcher={launcher}")["model"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_fits_its_signatures_and_builds(experiment, compose):
    config = compose(f"experiment={experiment}")
    validate(config)
    check_objects(Experiment.of(config))


def test_no_file_is_out_of_reach():
    """A file is a command's, an option of a group, or what several of them share."""
    reached = {CONF / f"{command}.yaml" for command in (*COMMANDS, "app")} | {CONF / "model" / "base.yaml"}
    reached |= {path for group in groups() for option in options_of(group) if (path := file_of(group, option))}
    assert reached == set(CONF.rglob("*.yaml"))


def test_no_file_moves_what_belongs_to_another_section():
    """Hydra's ``override /group@_global_.group: option``; ``override /group: option`` says as much."""
    assert not [path for path in CONF.rglob("*.yaml") if "@_global_" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("words", "tokenizer"),
    [
        ("data=wikitext2", "Word"),
        ("data=parity", "Symbols"),
        ("data=small_recall", "Symbols"),  # extends a file that chooses
        ("data=wikitext2 tokenizer=byte", "Byte"),
        ("tokenizer=byte data=wikitext2", "Byte"),
        ("experiment=wikitext2_lstm", "Word"),
        ("experiment=article data=stdlib", "Word"),  # an experiment's choice is before that of the data
        ("experiment=article data=stdlib tokenizer=bpe", "BPE"),
    ],
)
def test_data_choose_a_tokenizer_where_nothing_else_does(compose, words, tokenizer):
    assert compose(*words.split())["tokenizer"]["_target_"].endswith(f".{tokenizer}")


IDENTITIES = {
    "": "993de16f7f",
    "model=lstm data=wikitext2": "4a79ea2605",
    "model=transformer data=wikitext2": "cd01bb2a5a",
    "model=gpt2 data=wikitext2": "c525bf8a04",
    "model=griffin data=wikitext2": "cd64881e0a",
    "model=xlstm data=wikitext2": "92a400243f",
    "model=slstm data=wikitext2": "8a60ae7a8a",
    "model=awd_lstm_mos data=wikitext2": "4f55dff75f",
    "model=hf data=wikitext2": "b684fd28eb",
    "model=moe data=wikitext2": "0ba1f5fd06",
    "model=transformer mixer=gru": "907894af0c",
    "model=custom block=prenorm channel=relu_mlp": "2f7a3526fd",
    "model=transformer head=mixture_of_softmaxes": "e5178f16f8",
    "model=custom block=prenorm model.pattern=[mamba2,attention+swiglu]": "d08c6b0be3",
    "data=small_recall": "3599cd66a9",
    "data=wikitext2 tokenizer=byte": "6adcaf251e",
    "experiment=article data=stdlib": "dc143b1ba8",
    "experiment=awd_lstm": "72950c04a6",
    "experiment=diagnostics": "a46c76cac7",
    "experiment=recall": "1b87a89cea",
    "experiment=rnn_vs_transformer": "89a6fd6ce7",
    "experiment=shakespeare_cpu": "30cea6de16",
    "experiment=shakespeare_speedrun budget.tokens=122_880": "bc3e116795",
    "experiment=wikitext2_lstm": "586add6d2f",
}
"""What was composed when the parts of models were groups at the top of ``conf/``: runs of then are found again."""


@pytest.mark.parametrize("words", IDENTITIES)
def test_the_identity_of_a_configuration_stays(compose, words):
    config = compose(*words.split())
    assert config.pop("stages") is None
    assert identity(config) == IDENTITIES[words]


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


def test_the_order_of_streamed_text_is_part_of_a_runs_identity(compose):
    text = ["data=text", "data.paths=x.txt"]
    mixture = ["data=mixture", "data.weights={stdlib: 1, wikitext2: 1}"]
    for words, option in ((text, "data.stream"), (mixture, "+data.parts.stdlib.stream")):
        plain, streamed = compose(*words), compose(*words, f"{option}=true")
        assert identity(plain) != identity(streamed)
        earlier = compose(*words)  # as a version without the option composes it
        for node in (earlier["data"], *earlier["data"].get("parts", {}).values()):
            node.pop("stream", None)
        assert identity(plain) == identity(earlier)


def test_the_side_on_which_prompts_are_cut_is_part_of_a_runs_identity(compose):
    records = ["data=records", "data.paths=x.jsonl"]
    mixture = ["data=mixture", "data.weights={records: 1, wikitext2: 1}", "+data.parts.records.paths=x.jsonl"]
    for words, option in ((records, "data.template"), (mixture, "+data.parts.records.template")):
        plain, right = compose(*words), compose(*words, f"{option}.truncation_side=right")
        assert identity(plain) != identity(right)
        earlier = compose(*words)  # as a version without the option composes it
        for node in (earlier["data"], *earlier["data"].get("parts", {}).values()):
            node.get("template", {}).pop("truncation_side", None)
        assert identity(plain) == identity(earlier)


def test_paths_and_loggers_are_no_part_of_a_runs_identity(compose, tmp_path):
    first = compose("data=text", "data.paths=x.txt")
    second = compose("data=text", "data.paths=x.txt", "logger=[]", "progress=false", outputs=tmp_path / "elsewhere")
    third = compose("data=text", "data.paths=x.txt", "seed=2")
    assert identity(first) == identity(second) != identity(third)


def test_settings_of_decoding_that_are_not_set_are_no_part_of_an_identity(compose):
    words = ["data=translation", "data.source=en", "data.target=cs", 'data.paths="x.{language}"']
    plain, beams = compose(*words), compose(*words, "data.decoding.beams=4")
    earlier = plain | {"data": {key: value for key, value in plain["data"].items() if key != "decoding"}}
    assert identity(plain) == identity(earlier) != identity(beams)
    mixed = compose("data=mixture", "data.weights={stdlib: 1, multi30k: 1}")
    part = {key: value for key, value in mixed["data"]["parts"]["multi30k"].items() if key != "decoding"}
    parts = mixed["data"]["parts"] | {"multi30k": part}
    assert identity(mixed) == identity(mixed | {"data": mixed["data"] | {"parts": parts}})
