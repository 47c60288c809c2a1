import io
import math

import pytest
import torch
from rich.console import Console

from lmlab.commands import describe, tables
from lmlab.errors import UserError
from lmlab.models.anatomy import parameters_by_kind, parts_of
from lmlab.planning.memory import activation_bytes

V, B, T = 1000, 4, 32


@pytest.fixture
def described(compose):
    """The network without memory and what it costs."""

    def make(*overrides):
        config = compose(f"vocabulary={V}", f"batch.size={B}", f"batch.context={T}", *overrides, command="describe")
        model, _ = describe.built_model(config["model"], V, config["batch"])
        return model, describe.measure(model, config)

    return make


def test_an_lstm_is_what_is_counted_by_hand(described):
    _, found = described("model=lstm", "model.width=20", "model.depth=3", "optimizer=adamw")
    layer = 4 * 2 * 20 * 20 + 4 * 2 * 20
    total = V * 20 + 3 * layer
    kinds = {"embedding": V * 20, "sequence mixers": 3 * layer, "channel mixers": 0, "norms": 0, "head": 0}
    assert found["parameters_by_kind"] == kinds
    assert found["state_bytes"] == {str(n): 4 * 3 * 2 * 20 for n in (1, 128, 1024, 8192, 65536, 1048576)}
    assert found["flops_per_token"] == 2 * (V * 20 + 3 * 8 * 20 * 20)
    assert found["generation_memory"] == {"weights": 4 * total, "state": 4 * 3 * 2 * 20}
    memory = found["training_memory"]
    assert memory["weights"] == memory["gradients"] == 4 * total
    # Two moments of every weight, and the number of steps for each of 1 + 3 x 4 tensors.
    assert memory["optimizer state"] == 2 * 4 * total + 4 * (1 + 3 * 4)


def test_a_moving_average_takes_what_the_weights_do(described):
    options = ("model=lstm", "model.width=20", "optimizer=adamw")
    (_, without), (_, found) = described(*options), described(*options, "callbacks=ema")
    average = found["training_memory"].pop("moving average")
    assert average == found["training_memory"]["weights"]
    assert found["training_memory"] == without["training_memory"]


def test_a_transformer_is_what_is_counted_by_hand(described):
    overrides = ("model=transformer", "model.width=32", "model.depth=2", "model.tie_embeddings=false")
    _, found = described(*overrides, "optimizer=sgd", "optimizer.momentum=0.9")
    inner = 88  # 8/3 x 32, to a multiple of 8
    assert found["parameters_by_kind"] == {
        "embedding": V * 32,
        "sequence mixers": 2 * 4 * 32 * 32,
        "channel mixers": 2 * 3 * 32 * inner,
        "norms": 5 * 32,
        "head": V * 32,
    }
    assert found["state_bytes"] == {str(n): 4 * 2 * 2 * 32 * n for n in (1, 128, 1024, 8192, 65536, 1048576)}
    products = V * 32 + 2 * (4 * 32 * 32 + 3 * 32 * inner)
    assert found["flops_per_token"] == 2 * products + 2 * 4 * T * 32
    assert found["training_memory"]["optimizer state"] == found["training_memory"]["weights"]


@pytest.mark.parametrize("optimizer", ["muon", "adam", "sgd"])
def test_optimizers_keep_what_they_keep(described, optimizer):
    model, found = described("model=gpt2", "model.width=32", "model.depth=1", f"optimizer={optimizer}")
    hidden = 12 * 32 * 32
    total = found["parameters"]["total"]
    tensors = len(list(model.parameters()))
    kept = {"sgd": 0, "adam": 2 * total + tensors, "muon": hidden + 2 * (total - hidden) + (tensors - 4)}
    assert found["training_memory"]["optimizer state"] == 4 * kept[optimizer]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_positions_that_end_have_no_state_beyond_their_end(described):
    _, found = described("model=gpt2", "model.width=32")
    assert found["state_bytes"] == {"1": 4 * 4 * 2 * 32}  # four layers; 32 positions are fewer than 128


@pytest.mark.parametrize("model", ["transformer", "gpt2"])
def test_activations_are_those_that_a_cpu_keeps(described, make_on_cpu, model):
    meta, _ = described(f"model={model}", "model.width=32", "model.depth=2")
    kept = {}
    cpu = make_on_cpu(f"model={model}", "model.width=32", "model.depth=2")

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no address is used twice
        return tensor

    tokens_BT = torch.zeros(B, T, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden_BTD = cpu(tokens_BT).hidden
        cpu.head.cross_entropy(hidden_BTD.flatten(0, 1), tokens_BT.flatten())
    own = {parameter.untyped_storage().data_ptr() for parameter in cpu.parameters()}
    measured = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)
    assert activation_bytes(meta, B, T) == pytest.approx(measured, rel=0.02)


@pytest.fixture
def make_on_cpu(compose):
    from lmlab.config.build import build

    return lambda *overrides: build(compose(*overrides, command="describe")["model"], vocabulary=V, context=T)


@pytest.mark.parametrize("head", ["softmax", "mixture_of_softmaxes"])
def test_activations_grow_with_tokens_and_parameters_are_no_part_of_them(described, head):
    model, _ = described("model=transformer", "model.width=128", "model.depth=1", f"head={head}")
    one, two, four = (activation_bytes(model, batch, 2) for batch in (1, 2, 4))
    assert four - two == pytest.approx(2 * (two - one), rel=0.01)
    assert 0 < one < sum(parameter.numel() for parameter in model.parameters())


def test_equal_blocks_are_one_and_later_ones_refer_to_them(described):
    overrides = ("model=transformer", "model.pattern=[lstm,lstm,attention]", "model.depth=7", "model.width=16")
    model, _ = described(*overrides)
    tree = parts_of(model)
    blocks = next(part for part in tree.parts if part.name == "blocks")
    shown = [(part.name, part.times, part.same_as) for part in blocks.parts]
    assert shown == [
        ("0 to 1", 2, None),
        ("2", 1, None),
        ("3 to 4", 2, "0 to 1"),
        ("5", 1, "2"),
        ("6", 1, "0 to 1"),
    ]
    assert tree.parameters == sum(parameters_by_kind(model).values()) == sum(p.numel() for p in model.parameters())
    (head,) = [part for part in tree.parts if part.name == "head"]
    assert head.parts[0].tied and head.parameters == 0


def printed(monkeypatch, width, function, *arguments):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    monkeypatch.setattr(tables, "console", console)
    function(*arguments)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_shown_fits_the_terminal(monkeypatch, described, compose, width):
    model, found = described("model=transformer", "model.width=32", "model.depth=3", "model.mixer.query_key_norm=true")
    text = printed(monkeypatch, width, describe.show, model, {"width": 32, "depth": 3}, found, "transformer")
    assert max(map(len, text.splitlines())) <= width
    assert "blocks 0 to 2  PreNormBlock" in text and "3 x " in text
    for expected in ("up  Linear  32 -> 176", "the embedding's", "tokens read", f"training, {B} x {T}", "1,048,576"):
        assert expected in text
    rows = [
        found | {"overrides": [f"model={name}", "model.depth=3"], "model": {"width": 32, "depth": 3}} for name in "ab"
    ]
    text = printed(monkeypatch, width, describe.show_side_by_side, rows)
    assert max(map(len, text.splitlines())) <= width
    assert "batch 4 x 32, model.depth=3" in text and "32 x 3" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vocabulary=0", "vocabulary=0: expected at least 1"),
        ("batch.size=0", "batch.size=0: expected a whole number of at least 1"),
        ("model.depth=0", "model.depth=0: expected at least 1"),
        ("model.parameters=10Q", "model.parameters=10Q: expected a number of parameters"),
    ],
)
def test_what_cannot_be_is_refused(compose, override, message):
    config = compose(override, command="describe")
    with pytest.raises(UserError, match=message):
        describe.built_model(config["model"], describe.number_of_types(config, config["vocabulary"]), config["batch"])


@pytest.mark.slow
def test_models_of_one_size_side_by_side(lmlab):
    shown = lmlab("describe", "-m", "model=lstm,transformer,nothing", "model.parameters=10M", check=False)
    assert shown.returncode != 0 and "model=nothing: no such option" in shown.stderr
    shown = lmlab("describe", "-m", "model=lstm,transformer", "model.parameters=10M").stdout
    rows = [line.split() for line in shown.splitlines() if line.startswith(("lstm", "transformer"))]
    assert [row[0] for row in rows] == ["lstm", "transformer"]
    for row in rows:
        (parameters,) = [float(word[:-1]) for word in row[4:5]]  # after the name and 672 x 2
        assert math.isclose(parameters, 10, rel_tol=0.015)


@pytest.mark.parametrize("command", ["describe", "plan"])
def test_the_vocabulary_is_what_the_options_say_without_data(compose, tmp_path, command):
    cases = {
        "vocabulary=77": 77,
        "tokenizer.size=5000": 5000,
        "tokenizer=byte": 256,
        "data=recall": 8192,
        "data=parity": 2,
        "experiment=rnn_vs_transformer": 2048,
        "seed=1": 4096,
    }
    for override, size in cases.items():
        config = compose(override, command=command)
        assert describe.number_of_types(config, config["vocabulary"]) == size, override
    assert not (tmp_path / "outputs").exists(), "nothing was prepared"


def test_types_that_only_the_text_has_are_counted_there(compose, tmp_path):
    (tmp_path / "text.txt").write_text("abca\n" * 500)
    config = compose("data=text", f"data.paths={tmp_path / 'text.txt'}", "tokenizer=character", command="describe")
    assert len("abc\n") <= describe.number_of_types(config, None) <= len("abc\n") + 2  # and what stands for others


def test_options_of_one_model_are_varied_for_that_model_alone(lmlab):
    words = ["model=lstm,transformer", "model.mixer.heads=2,4", "optimizer=muon", "vocabulary=64", "model.width=16"]
    done = lmlab("describe", "-m", *words, "model.mixer.rotary_base=500")
    rows = [line.split("  ")[0] for line in done.stdout.splitlines() if line.startswith(("lstm ", "transformer "))]
    heads = [f"transformer model.mixer.heads={heads} model.mixer.rotary_base=500" for heads in (2, 4)]
    assert rows == ["lstm", *heads]
