"""The loss of an optimizer step is one mean over all that it scores, however its rows are divided."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from lmlab.config.experiment import Experiment
from lmlab.models.decoding import Decoding
from lmlab.runs.run import Run
from lmlab.training.module import LanguageModeling
from lmlab.training.objectives import Objective, Terms
from lmlab.training.preflight import build_model, open_task
from lmlab.training.worker import make_module

STEP = 3
SIZES = ["model.width=8", "model.depth=1", "model.dropout=0.0", "batch.size=16", "batch.context=32", "trainer=cpu"]
DROPOUTS = ("weight", "input", "hidden", "output")
TASKS = ("fuzzy_in_context_recall", "dyck")  # rows have unequal numbers of answers
DIVISIONS = [(1, 4), (1, 16), (2, 1), (2, 4)]
"""Ranks, and micro-batches on each."""


SMALL_MEMORY = """
import pytorch_lightning as pl
import torch

class SmallMemory(pl.Callback):
    def __init__(self, rows: int):
        self.rows = rows

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if len(batch.tokens) > self.rows:
            raise torch.OutOfMemoryError("DefaultCPUAllocator: can't allocate memory")
"""


class SelfTaught(Objective):
    """Cross-entropy of two tokens that the model itself continues each row with; every row counts the same."""

    def prepare(self, model, batch, context):
        prompts = batch.tokens[:, :4].tolist()
        drawn = context.generate(model, prompts, 2, Decoding(), batch.first_row)
        rows = torch.tensor([prompt + more for prompt, more in zip(prompts, drawn, strict=True)])
        targets = rows[:, 1:].clone()
        targets[:, :3] = -1
        targets[batch.tokens[:, 0] % 2 == 0, -1] = -1  # some answers are one token long
        return replace(batch, tokens=rows[:, :-1], targets=targets, where=None)

    def terms(self, model, batch):
        output = model(batch.tokens, batch.state)
        nats_N = model.head.per_token(
            lambda log_probs, targets: -log_probs.gather(1, targets[:, None])[:, 0],
            output.hidden.flatten(0, 1),
            batch.targets.flatten(),
        )
        of_rows = nats_N.view_as(batch.targets).sum(1) / (batch.targets >= 0).sum(1)
        return Terms(of_rows.mean(), batch.row_share, output, {"twice": 2 * of_rows.mean().detach()})


def gradient(
    module: LanguageModeling, source, ranks: int, accumulate: int
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The gradient of a step as Lightning and DDP add it up, and the means that are logged."""
    total = {name: torch.zeros_like(parameter) for name, parameter in module.model.named_parameters()}
    logs: dict[str, float] = {}
    for rank in range(ranks):
        place = {"rank": rank, "num_replicas": ranks}
        module._trainer = SimpleNamespace(
            accumulate_grad_batches=accumulate, distributed_sampler_kwargs=place, global_step=STEP
        )
        module._sums.clear()
        module.zero_grad()
        for micro in range(accumulate):
            loss = module.training_step(source.training_batch(STEP, rank, ranks, micro, accumulate), micro)
            (loss / accumulate).backward()
        for name, parameter in module.model.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad / ranks
        for name, value in module._sums.items():
            logs[name] = logs.get(name, 0.0) + value.item() / accumulate / ranks
    return total, logs


def case(compose, *words: str):
    config = compose(*SIZES, *words)
    experiment = Experiment.of(config)
    source = open_task(experiment)
    torch.manual_seed(0)
    model = build_model(experiment, source).double()
    return make_module(experiment, source, model).train(), source


def agree(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    scale = max(part.abs().max().item() for part in one.values())
    assert scale > 1e-4
    for name, part in one.items():
        torch.testing.assert_close(other[name], part, rtol=1e-5, atol=1e-9 * scale)


@pytest.mark.parametrize("data", TASKS)
@pytest.mark.parametrize(
    "words",
    [
        ["model=gru"],
        ["model=gru", "objective.label_smoothing=0.1"],
        ["model=gru", "objective=brier"],
        ["model=moe", "model.channel.experts=4", "model.channel.balance=1.0"],
        ["model=awd_lstm", "model.embedding_dropout=0.0", *(f"model.mixer.{part}_dropout=0.0" for part in DROPOUTS)],
    ],
    ids=["cross_entropy", "label_smoothing", "brier", "load_balance", "activation_regularisation"],
)
def test_gradient_and_logs_do_not_depend_on_how_a_step_is_divided(compose, data, words):
    module, source = case(compose, f"data={data}", *words)
    whole, logs = gradient(module, source, 1, 1)
    for ranks, accumulate in DIVISIONS:
        divided, means = gradient(module, source, ranks, accumulate)
        agree(whole, divided)
        assert means == pytest.approx(logs, rel=1e-9)


def test_every_token_of_a_text_counts_the_same(compose, corpus_file):
    module, source = case(compose, "data=text", "tokenizer=byte", f"data.paths={corpus_file}", "model=gru")
    whole, _ = gradient(module, source, 1, 1)
    agree(whole, gradient(module, source, 2, 4)[0])
    places = [(rank, 2, micro, 4) for rank in range(2) for micro in range(4)]
    batches = [source.training_batch(STEP, *place) for place in places]
    assert [(batch.share, batch.row_share) for batch in batches] == [(1 / 8, 1 / 8)] * 8
    assert [batch.first_row for batch in batches] == list(range(0, 16, 2))


@pytest.mark.parametrize(
    "words", [["model=gru"], ["model=moe", "model.channel.experts=4"]], ids=["cross_entropy", "load_balance"]
)
def test_documents_that_are_read_one_by_one_count_by_their_tokens(compose, corpus_file, words):
    text = ["data=text", "tokenizer=byte", f"data.paths={corpus_file}", "data.documents=line", "batch.context=64"]
    module, source = case(compose, *text, "batch.documents=separate", *words)
    rows = len(source.training_batch(STEP, 0, 1, 0, 1).tokens)
    assert rows % 8, "the parts of the step differ in size"
    whole, logs = gradient(module, source, 1, 1)
    for ranks, accumulate in DIVISIONS:
        divided, means = gradient(module, source, ranks, accumulate)
        agree(whole, divided)
        assert means == pytest.approx(logs, rel=1e-9)


def test_an_objective_may_train_on_what_the_model_samples(compose):
    module, source = case(compose, "data=dyck", "model=gru")
    module.objective = SelfTaught()
    whole, logs = gradient(module, source, 1, 1)
    assert logs["twice"] == pytest.approx(2 * logs["loss"])
    assert module.model.training
    for ranks, accumulate in DIVISIONS:
        divided, means = gradient(module, source, ranks, accumulate)
        agree(whole, divided)
        assert means == pytest.approx(logs)
    module.steps_before = 1  # another step draws others
    assert gradient(module, source, 1, 1)[1] != logs


@pytest.mark.slow
def test_weights_after_a_step_do_not_depend_on_devices_micro_batches_and_memory(lmlab, tmp_path):
    """The whole way through the trainer: one step of gradient descent with a learning rate of 1."""
    (tmp_path / "small_memory.py").write_text(SMALL_MEMORY)
    (tmp_path / "own" / "callbacks").mkdir(parents=True)
    callback = "defaults: [default, _self_]\nsmall_memory: {_target_: small_memory.SmallMemory, rows: 4}\n"
    (tmp_path / "own" / "callbacks" / "small_memory.yaml").write_text(callback)
    step = ["data=fuzzy_in_context_recall", "data.longer=null", "model=moe", *SIZES, "trainer.gradient_clip=null"]
    step += ["optimizer=sgd", "scheduler=constant", "scheduler.warmup=0", "budget.tokens=512", "logger=[]"]
    step += ["trainer.threads=1", "model.channel.balance=1.0"]
    weights = {}
    for name, words in {
        "whole": [],
        "accumulated": ["trainer.accumulate=4"],
        "halved": ["--config-dir", "own", "callbacks=small_memory"],
        "two ranks": ["trainer.strategy=ddp", "trainer.devices=2"],
        "two ranks accumulated": ["trainer.strategy=ddp", "trainer.devices=2", "trainer.accumulate=4"],
    }.items():
        outputs = tmp_path / name.replace(" ", "_")
        for _ in range(2):  # one that found too little memory goes on when it is asked for again
            lmlab("train", *step, *words, LMLAB_OUTPUTS=str(outputs), check=False)
        (manifest,) = outputs.glob("runs/*/run.json")
        run = Run(manifest.parent)
        assert run.status == "finished", run.log.read_text()
        assert run.events.exists() == (name == "halved")
        weights[name] = load_file(run.weights)
    for name, other in weights.items():
        for weight, expected in zip(other.values(), weights["whole"].values(), strict=True):
            torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6, msg=name)
