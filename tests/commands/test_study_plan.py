import re

import pytest

from lmlab.commands.study_plan import Plan
from lmlab.config.experiment import Experiment
from lmlab.config.overrides import option_of
from lmlab.errors import UserError
from lmlab.models.sizes import flops_per_token
from lmlab.sweeps.study import Study
from lmlab.training.preflight import build_model, open_task

STUDY = {
    "arms": {"lstm": ["model=lstm"], "transformer": ["model=transformer"]},
    "tune": {"optimizer.lr": "tag(log,interval(1e-3,1e-2))"},
    "trials": 2,
    "seeds": [1, 2],
    "equal": ["data", "tokenizer", "budget", "context"],
}


@pytest.fixture
def plan(compose, small, small_task):
    """The plan of the study with some of it changed, on the small corpus or on a small task."""

    def made(*words, task=False, lacking=lambda groups, options: frozenset(), **change):
        study = Study.read(STUDY | change)
        decided = {option_of(word) for own in study.arms.values() for word in own} | set(study.tune)
        decided |= {"budget.tokens"} if study.budget else set()
        own = [word for word in (small_task if task else small) if option_of(word) not in decided]
        return Plan.of(study, [*own, *words], lambda words, where: compose(*words), lacking=lacking)

    return made


@pytest.mark.slow
def test_a_budget_in_operations_is_what_the_runs_spend_within_one_step(plan, compose):
    flops = 3e8
    found = plan(tune={"model.depth": "1,2"}, trials=None, budget={"flops": flops})
    budgets = set()
    for candidates in found.candidates.values():
        for words in candidates:
            config = compose(*words)
            experiment = Experiment.of(config)
            tokens, per_step = config["budget"]["tokens"], 4 * 16
            each = 3 * flops_per_token(build_model(experiment, open_task(experiment)), 16)
            assert tokens % per_step == 0 and tokens * each <= flops < (tokens + per_step) * each
            budgets.add(tokens)
    assert len(budgets) == 4, "a deeper model trains on fewer tokens"
    with pytest.raises(UserError, match=r"study.budget.flops=1000: a single optimizer step of lstm takes \d"):
        plan(budget={"flops": 1000})


def test_a_budget_in_seconds_has_an_untuned_pilot_for_each_arm(plan):
    found = plan(budget={"seconds": 5})
    assert list(found.pilots) == ["lstm", "transformer"]
    pilot = found.pilots["lstm"]
    assert pilot.tokens_per_step == 64 and pilot.overrides == [*found.words, "model=lstm"]
    assert not any(word.startswith("budget") for words in found.candidates["lstm"] for word in words)


def test_averaged_weights_are_there_with_their_callback_only(plan):
    assert plan("callbacks=ema", metric="ema/bits_per_byte").metric == "ema/bits_per_byte"
    message = "study.metric=ema/loss: metrics of averaged weights need callbacks=ema"
    with pytest.raises(UserError, match=message):
        plan(metric="ema/loss")


@pytest.mark.slow
def test_a_study_is_another_one_where_anything_differs_that_can_change_a_result(plan):
    digest = plan().digest
    assert plan("logger=[]", question="Which?").digest == digest
    others = [plan("model.dropout=0.1"), plan(seeds=[1, 2, 3]), plan(metric="validation/loss"), plan(trials=3)]
    assert len({digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"equal": ["parameters"]}, [], r"study.arms.transformer: [\d,]+ parameters \(total\), but [\d,]+ in lstm"),
        (
            {"arms": {"a": [], "b": ["model.dropout=0.5"]}, "tune": {"model.width": "16,24"}, "equal": ["parameters"]},
            [],
            r"study.tune: [\d,]+ parameters",
        ),
        ({"arms": {"a": [], "b": ["batch.context=8"]}}, [], "study.arms.b: batch.context=8, but 128 in a"),
        ({"tune": {"batch.context": "8,16"}}, [], "study.tune: batch.context=16, but 128 in lstm"),
        ({"arms": {"a": [], "b": ["budget.tokens=64"]}}, [], "study.arms.b: budget.tokens=64, but 2000000 in a"),
        (
            {"arms": {"a": ["tokenizer=byte"], "b": ["tokenizer=character"]}},
            [],
            "study.arms.b: tokenizer._target_=.*has tokenizer",
        ),
        ({"arms": {"a": [], "b": ["model.dropout=0.0"]}}, [], "study.arms.b: is the same as a"),
        ({"arms": {"a": [], "b": ["model.dropout=2"]}}, [], "study.arms.b: .*dropout"),
        ({"metric": "longer/accuracy"}, [], "study.metric=longer/accuracy: study.arms.lstm has no split longer"),
        (
            {"metric": "validation/los"},
            [],
            "study.metric=validation/los: .* no such metric .*'validation/loss'",
        ),
        ({"metric": "bits_per_byte"}, [], "study.metric=bits_per_byte: .*'validation/bits_per_byte'"),
        ({"metric": "longer/mine"}, ["callbacks=ema"], "study.metric=longer/mine: study.arms.lstm has no such metric"),
        ({"metric": "ema/mine"}, ["callbacks=ema"], "study.metric=ema/mine: study.arms.lstm has no such metric"),
        (
            {"metric": "validation/loss", "direction": "maximize"},
            [],
            "study.direction=maximize: expected minimize for validation/loss",
        ),
        (
            {"metric": "validation/bits_per_byte", "task": True},
            [],
            "study.metric=validation/bits_per_byte: study.arms.lstm has no such metric",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(plan, change, words, message, tmp_path):
    with pytest.raises(UserError, match=message) as refused:
        plan(*words, **change)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "outputs" / "runs").exists() and not (tmp_path / "outputs" / "sweeps").exists()


@pytest.mark.slow
def test_a_size_that_not_all_arms_can_have_is_refused_in_one_message_for_all(plan):
    arms = {"lstm": ["model=lstm"], "rnn": ["model=rnn"]}
    tune = {"optimizer.lr": "1e-3,3e-3"}
    with pytest.raises(UserError) as refused:
        plan("model.parameters=60k", arms=arms, tune=tune, trials=None)
    message = str(refused.value)
    assert message.startswith("model.parameters=60k: not within 1 % for lstm (") and "; within it for rnn (" in message
    within = re.search(r"(model.parameters_within=\S+) accepts", message)[1]
    assert plan("model.parameters=60k", within, arms=arms, tune=tune, trials=None, equal=["parameters"]).candidates


def test_sizes_that_were_asked_for_are_equal(plan):
    assert plan("model.parameters=20k", "model.parameters_of=non_embedding", equal=["parameters"]).candidates


@pytest.mark.slow
def test_the_conclusion_is_about_the_test_split_where_the_data_have_one(plan):
    assert plan().metric == "test/bits_per_byte"
    assert plan("data.test=0").metric == "validation/bits_per_byte"
    assert plan(task=True, metric="validation/accuracy").metric == "validation/accuracy"
    own = "+callbacks.own._target_=pytorch_lightning.Callback"  # nobody knows what it logs
    assert plan(own, metric="validation/mine").metric == "validation/mine"


def test_a_word_that_one_arm_has_is_for_that_arm_alone(plan):
    def lacking(groups, options):
        return {option for option in options if "heads" in option and "model=transformer" not in groups}

    candidates = plan("model.mixer.heads=2", lacking=lacking).candidates
    assert {arm: "model.mixer.heads=2" in words for arm, (words, *_) in candidates.items()} == {
        "lstm": False,
        "transformer": True,
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.mixer.hedas=2", r"model.mixer.hedas: no arm has such an option \(did you mean 'model.mixer.heads'\?\)"),
        ("study.tune.optimizer.lrr=1e-3,1e-2", "study.tune.optimizer.lrr: no arm has .*'optimizer.lr'"),
        ("study.tune.optimizer.lr=1e-3", "study.tune.optimizer.lr=1e-3: expected several values, or an interval"),
        ("study.seeds=1,2", r"study.seeds=1,2: one study at a time; a list is written study.seeds=\[1,2\]"),
        ("sweep.trials=3", "sweep.trials: no such option"),
    ],
)
def test_a_word_that_no_arm_has_is_refused_with_a_hint(word, message, lmlab):
    done = lmlab("study", "experiment=recall", word, check=False)
    assert done.returncode == 1 and re.search(message, done.stderr)
