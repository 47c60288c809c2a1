"""Parts of the user's own that do not keep to what is expected of them are refused in a line that says so."""

import sys
from types import SimpleNamespace

import pytest
from experiments import experiment_of

from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.sources import about
from lmlab.errors import UserError
from lmlab.models.block import mix
from lmlab.runs.run import Run
from lmlab.training.module import LanguageModeling
from lmlab.training.objectives import Objective
from lmlab.training.preflight import check
from lmlab.training.worker import build_callbacks

WRONG = """
import numpy as np
from lmlab.data.corpora import Corpus
from lmlab.data.synthetic import Generator
from lmlab.models.block import Block
from lmlab.models.channels.channel import Channel
from lmlab.models.mixers.mixer import Mixer

class NoFactor:
    def __call__(self, step, total):
        pass

class OneArgument:
    def __call__(self, step):
        return 1.0

def no_optimizer(model, lr=1.0):
    return [model]

class NoForward(Mixer):
    pass

class NoChannel(Channel):
    pass

class NoBlock(Block):
    pass

class NoCorpus:
    pass

class Abstract(Corpus):
    name, licence = "abstract", "mine"

class Unnamed(Corpus):
    def find(self, corpora, cache, progress=False):
        pass
    def documents(self, split):
        yield "text"

class Own(Generator):
    name, vocabulary = "own", 2
    def __init__(self, way: str = "floats", longer: int | None = None) -> None:
        super().__init__(longer)
        self.way = way
    def check(self, length):
        pass
    def generate(self, random, rows, length):
        zeros = np.zeros((rows, length), np.int64)
        if self.way == "fails":
            raise KeyError("way")
        return {
            "floats": (zeros.astype(float), zeros),
            "long": (zeros, np.zeros((rows, length + 1), np.int64)),
            "beyond": (zeros + 2, zeros),
            "unscored": (zeros, zeros - 1),
        }[self.way]
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    (tmp_path / "wrong_parts.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])


def own(section: str, name: str, *dropped: str) -> list[str]:
    """Overrides that put an object of the user's own in the place of the chosen one, without its options."""
    return [f"{section}._target_=wrong_parts.{name}", *(f"~{section}.{option}" for option in dropped)]


SCHEDULE, TASK = ("warmup", "floor"), ("answers",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (own("scheduler", "NoFactor", *SCHEDULE), "scheduler: NoFactor returned None for step 0; expected schedule"),
        (own("scheduler", "OneArgument", *SCHEDULE), r"scheduler: OneArgument cannot be called \(too many positional"),
        (
            own("optimizer", "no_optimizer", "betas", "eps", "weight_decay"),
            r"optimizer._target_=wrong_parts.no_optimizer: returned a list, expected a torch.optim.Optimizer",
        ),
        (
            own("objective", "NoCorpus", "label_smoothing"),
            "objective._target_=wrong_parts.NoCorpus: expected a subclass",
        ),
        (own("data", "NoCorpus", "answers", "longer"), "data._target_=wrong_parts.NoCorpus: expected a subclass of"),
        (own("data", "Abstract", "answers", "longer"), "data._target_=wrong_parts.Abstract: lacks documents, find,"),
        (own("data", "Unnamed", "answers", "longer"), "data._target_=wrong_parts.Unnamed: lacks name and licence"),
        (own("data", "Own", *TASK), r"data: own generated inputs of float64 \[64, 16\], expected int64 \[64, 16\]"),
        ([*own("data", "Own", *TASK), "+data.way=long"], r"generated targets of int64 \[64, 17\], expected"),
        ([*own("data", "Own", *TASK), "+data.way=beyond"], "generated inputs 2 to 2, expected 0 to 1"),
        ([*own("data", "Own", *TASK), "+data.way=unscored"], "generated a sequence without a target"),
    ],
)
def test_what_does_not_keep_to_its_contract_is_refused(compose, small_task, words, message):
    with pytest.raises(UserError, match=message):
        check(compose(*small_task, *words))


@pytest.mark.parametrize(
    ("section", "name"), [("model.mixer", "NoForward"), ("model.channel", "NoChannel"), ("model.block", "NoBlock")]
)
def test_a_part_of_a_model_without_forward_is_refused(section, name):
    node = {"_target_": f"wrong_parts.{name}", "_partial_": True}
    with pytest.raises(UserError, match=rf"^{section}\._target_=wrong_parts\.{name}: lacks forward, which it has to"):
        validate({"model": {section.removeprefix("model."): node}})


def test_an_error_of_the_users_own_names_the_line(compose, small_task):
    line = next(number for number, text in enumerate(WRONG.splitlines(), 1) if "KeyError" in text)
    with pytest.raises(KeyError) as error:
        check(compose(*small_task, *own("data", "Own", *TASK), "+data.way=fails"))
    assert about(error.value) == f" in wrong_parts.py, line {line}"
    with pytest.raises(UserError) as other:
        build({"_target_": "lmlab.training.objectives.CrossEntropy", "label_smoothing": 2})
    assert about(other.value) == ""


def test_an_objective_that_returns_a_loss_alone_is_named():
    class OnlyLoss(Objective):
        def terms(self, model, batch):
            return 1.0

    module = SimpleNamespace(objective=OnlyLoss(), model=None, _prepare=lambda batch: batch)
    with pytest.raises(UserError, match=r"objective: OnlyLoss.terms returned a float, expected Terms"):
        LanguageModeling.training_step(module, SimpleNamespace(fresh=True), 0)


def test_a_callback_that_is_none_of_lightnings_is_named(tmp_path):
    experiment = experiment_of(callbacks={"mine": {"_target_": "wrong_parts.NoCorpus"}})
    with pytest.raises(UserError, match=r"callbacks.mine._target_=wrong_parts.NoCorpus: expected a subclass of"):
        build_callbacks(Run(tmp_path), experiment, SimpleNamespace(tokenizer=None))


def test_a_mixer_that_returns_no_state_is_named():
    from torch import nn, zeros

    class Stateless(nn.Identity):
        def forward(self, x_BTD, state):
            return x_BTD

    with pytest.raises(UserError, match=r"model.mixer: Stateless returned a Tensor, expected \(y_BTD, state\)"):
        mix(Stateless(), zeros(2, 3, 4), None)
