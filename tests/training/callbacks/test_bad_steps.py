import copy
import math
from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lmlab.data.batch import Batch
from lmlab.data.synthetic import Parity
from lmlab.data.tasks import GeneratedTask
from lmlab.data.tokenizers import Byte, Symbols
from lmlab.errors import CannotGoOn, Restart, UserError
from lmlab.models.state import Output
from lmlab.runs.files import numbers, read_jsonl
from lmlab.runs.run import Run
from lmlab.training.callbacks import BadSteps
from lmlab.training.module import LanguageModeling, SkipStep
from lmlab.training.objectives import Objective, StepContext, Terms
from lmlab.training.optimizers import adam, adamw, muon, nt_asgd, sgd
from lmlab.training.scoring import Scoring


def trainer_at(step, scaler=None):
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: value, barrier=lambda: None)
    precision = SimpleNamespace(scaler=scaler)
    return SimpleNamespace(strategy=strategy, precision_plugin=precision, global_step=step, is_global_zero=True)


def judge(bad_steps, step, loss, norm=1.0, **others):
    bad_steps.judge(trainer_at(step, **others), torch.tensor(loss), torch.tensor(norm))


@pytest.mark.parametrize("values", [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
@pytest.mark.parametrize(("action", "error"), [("stop", CannotGoOn), ("skip", SkipStep), ("roll_back", Restart)])
def test_a_loss_or_gradient_that_is_not_finite_is_acted_on_and_recorded(values, action, error, tmp_path):
    bad_steps = BadSteps(Run(tmp_path), not_finite=action)
    judge(bad_steps, 0, 1.0)
    what = "step 2: the loss is .* and the gradient norm"
    with pytest.raises(error, match={"stop": f"^diverged at {what}", "roll_back": f"^{what}", "skip": "^$"}[action]):
        judge(bad_steps, 1, *values)
    (row,) = numbers(read_jsonl(tmp_path / "events.jsonl"))
    assert (row["step"], row["what"], row["done"]) == (2, "not_finite", action)
    assert str((row["loss"], row["gradient_norm"])) == str(values)


def test_gradients_that_overflow_are_the_scalers_affair(tmp_path):
    bad_steps = BadSteps(Run(tmp_path))
    judge(bad_steps, 0, 1.0, math.inf, scaler=object())
    with pytest.raises(CannotGoOn):
        judge(bad_steps, 1, math.nan, math.inf, scaler=object())


def test_a_spike_is_far_above_the_median_of_a_full_window(tmp_path):
    bad_steps = BadSteps(Run(tmp_path), not_finite=None, spike="skip", threshold=2.0, window=5)
    for step, loss in enumerate([100.0, 1.0, 4.0, 2.0, 3.0]):  # median 3, absolute deviations 97 2 1 1 0: median 1
        judge(bad_steps, step, loss)
    assert bad_steps.limit() == pytest.approx(3 + 2 * 1.4826)
    with pytest.raises(SkipStep):
        judge(bad_steps, 5, 6.0)
    judge(bad_steps, 6, 5.9)  # the spike is not among the losses: 1 4 2 3 5.9 from here on
    assert bad_steps.limit() == pytest.approx(3 + 2 * 1.4826)
    again = BadSteps(Run(tmp_path), not_finite=None, spike="skip", threshold=2.0, window=5)
    again.load_state_dict(bad_steps.state_dict())
    assert (again.limit(), again.skipped) == (bad_steps.limit(), 1)


def test_one_step_more_than_allowed_stops_the_run(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(Restart):
        judge(BadSteps(run, not_finite="roll_back", at_most=2), 3, math.nan)
    bad_steps = BadSteps(run, not_finite="skip", at_most=2)
    with pytest.raises(SkipStep):
        judge(bad_steps, 4, math.nan)
    with pytest.raises(CannotGoOn, match=r"at_most=2 such steps were skipped or rolled back before"):
        judge(bad_steps, 5, math.nan)
    assert [row["done"] for row in read_jsonl(run.events)] == ["roll_back", "skip", "stop"]


@pytest.mark.parametrize("option", [{"threshold": 0.0}, {"window": 1}, {"at_most": -1}])
def test_numbers_out_of_their_range_are_refused(option, tmp_path):
    with pytest.raises(UserError, match=r"callbacks\.bad_steps\."):
        BadSteps(Run(tmp_path), **option)


class Toy(torch.nn.Module):
    """A network with a hidden matrix, for Muon."""

    def __init__(self):
        super().__init__()
        self.embedding, self.hidden = torch.nn.Embedding(5, 8), torch.nn.Linear(8, 8)


class Watch(pl.Callback):
    """Keeps weights, optimizer state and learning rate from before and after every step."""

    def __init__(self):
        self.before, self.after = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before.append(self.state(trainer, pl_module))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after.append(self.state(trainer, pl_module))

    def state(self, trainer, module):
        optimizer = copy.deepcopy(trainer.optimizers[0].state_dict())
        rates = [group.pop("lr") for group in optimizer["param_groups"]]
        return copy.deepcopy(module.model.state_dict()), optimizer, rates


def same(one, other):
    torch.testing.assert_close(one[:2], other[:2], rtol=0, atol=0)


OPTIMIZERS = {
    "sgd": partial(sgd, lr=0.1, momentum=0.9),
    "adam": partial(adam, lr=0.1, betas=[0.9, 0.99]),
    "adamw": partial(adamw, lr=0.1, betas=[0.9, 0.99]),
    "muon": partial(muon, lr=0.1, adamw_lr=0.1, betas=[0.9, 0.99]),
    "nt_asgd": partial(nt_asgd, lr=0.1, patience=1),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_skipped_step_leaves_weights_and_optimizer_bit_for_bit_and_the_schedule_goes_on(
    optimizer, accumulate, tmp_path
):
    class Squares(Objective):
        def terms(self, model, batch):
            loss = model.hidden(model.embedding(batch.tokens)).square().mean()
            output = Output(batch.tokens, None)
            return Terms(loss * (math.nan if 3 in batch.tokens else 1.0), 1 / accumulate, output)

    def make(model):
        made = OPTIMIZERS[optimizer](model)
        for group in made.param_groups:
            if "triggered" in group:
                group["triggered"] = True  # the mean of its weights begins in the first step that is taken
        return made

    module = LanguageModeling(
        *(Toy(), Squares(), make, lambda step, total: 1 / (step + 1)),
        seed=1,
        total_steps=4,
        tokens_per_step=1,
        step_context=StepContext(Byte(), 1),
        scoring=Scoring(GeneratedTask(Parity(), Symbols(2), 0, 1, 4)),
        log_every=1,
        carry_state=False,
    )
    steps = [3, 1, 3, 2]  # a bad one first, another later
    places = [place for step in steps for place in [1] * (accumulate - 1) + [step]]
    tokens = [Batch(torch.full((2, 3), place), torch.zeros(2, 3)) for place in places]
    watch = Watch()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=4,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=1.0,
        callbacks=[BadSteps(Run(tmp_path), not_finite="skip"), watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(tokens, batch_size=None))
    assert trainer.global_step == 4
    for step, token in enumerate(steps):
        before, after = watch.before[step * accumulate], watch.after[(step + 1) * accumulate - 1]
        assert after[2] == pytest.approx([0.1 / (step + 2)] * len(after[2]))
        if token == 3:
            same(before, after)
        else:
            with pytest.raises(AssertionError):
                same(before, after)
    assert [row["step"] for row in read_jsonl(tmp_path / "events.jsonl")] == [1, 3]
