import json

import pytest
from synthetic_runs import EXACT_MATCH

from lmlab.errors import UserError
from lmlab.runs.version import measures_of
from lmlab.sweeps.study import EQUAL, Study
from lmlab.sweeps.sweep import Sweep

TEXT = measures_of({})
SECTION = {
    "arms": {"lstm": ["model=lstm"], "wide": ["model=transformer", "model.width=256"]},
    "tune": {"optimizer.lr": "tag(log, interval(1e-3, 3e-2))", "batch.size": "8,16,32"},
    "trials": 4,
    "seeds": [0, 1, 3],
    "equal": ["data", "context"],
    "metric": "validation/loss",
}


def test_what_is_not_said_has_a_value_and_what_is_read_is_written():
    study = Study.read({key: SECTION[key] for key in ("arms", "seeds")})
    assert (study.trials, study.budget, study.tune) == (None, None, {})
    assert set(study.equal) == set(EQUAL) and study.metric is None
    assert (study.selection_metric(TEXT), study.better(TEXT)) == ("validation/bits_per_byte", "lower")
    assert (study.selection_metric(EXACT_MATCH), study.better(EXACT_MATCH)) == ("validation/exact_match", "higher")
    assert Study.read(json.loads(json.dumps(study.section))).section == study.section


def test_settings_can_be_chosen_by_averaged_weights_which_are_scored_on_validation_only():
    study = Study.read(SECTION | {"metric": "ema/accuracy"})
    splits = [["validation", "test"]]
    assert study.better(TEXT) == "higher" and study.concludes_by(TEXT, splits) == "ema/accuracy"
    assert Study.read(SECTION).concludes_by(TEXT, splits) == "test/loss"
    assert Study.read(SECTION).concludes_by(TEXT, [*splits, ["validation"]]) == "validation/loss"
    own = Study.read(SECTION | {"metric": "validation/mine", "direction": "maximize"})
    assert own.better(TEXT) == "higher" and own.concludes_by(TEXT, splits) == "validation/mine"


def test_trials_have_a_seed_that_no_final_run_has():
    assert Study.read(SECTION).tuning_seed == 2
    assert Study.read(SECTION | {"seeds": [1, 2]}).tuning_seed == 0
    assert Study.read(SECTION | {"seeds": [2, 0, 1]}).tuning_seed == 3


def test_every_arm_is_tried_with_the_same_draws():
    study = Study.read(SECTION)
    words = study.own_words(["+notes=1", "budget.tokens=100", "study.trials=4", "model.depth=2"])
    assert words == ["+notes=1", "budget.tokens=100", "model.depth=2"]
    lstm, wide = (study.candidates(arm, words) for arm in study.arms)
    assert study.untuned("wide", words) == [*words, "model=transformer", "model.width=256"]
    assert [own[:4] for own in lstm] == [[*words, "model=lstm"]] * 4
    assert [own[4:] for own in lstm] == [own[5:] for own in wide]
    drawn = [dict(word.split("=") for word in own[4:]) for own in lstm]
    assert len({draw["optimizer.lr"] for draw in drawn}) == 4
    assert all(1e-3 <= float(draw["optimizer.lr"]) <= 3e-2 and draw["batch.size"] in "8,16,32" for draw in drawn)
    more = Study.read(SECTION | {"trials": 9}).candidates("lstm", words)
    assert more[:4] == lstm, "more trials go on where fewer ended"


def test_without_a_number_of_trials_every_combination_is_tried():
    study = Study.read(SECTION | {"tune": {"a": "1,2", "b": "range(0,3)"}, "trials": None})
    assert [own[1:] for own in study.candidates("lstm", [])] == [[f"a={a}", f"b={b}"] for a in (1, 2) for b in range(3)]
    listed = Study.read(SECTION | {"tune": {"a": [1, 2.5e-3], "b": ["x y", "z"]}, "trials": None})
    assert listed.tune == {"a": "1,0.0025", "b": '"x y",z'}
    assert Study.read(SECTION | {"tune": {}}).candidates("lstm", ["x=1"]) == [["x=1", "model=lstm"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {"lstm": []}}, "study.arms: expected at least 2 to compare, got 1"),
        ({"arms": {"a": "model=lstm", "b": []}}, r"study.arms.a=model=lstm: expected a list of overrides"),
        ({"seeds": []}, r"study.seeds=\[\]: expected at least one"),
        ({"seeds": [1, 2, 1]}, "study.seeds: 1 occurs twice"),
        ({"seeds": [-1]}, "study.seeds: -1 is negative"),
        ({"seeds": ["one"]}, "study.seeds=.*expected a list of whole numbers"),
        ({"trials": 0}, "study.trials=0: expected at least 1, or null"),
        ({"trails": 3}, "study.trails: a study has no such option .*trials"),
        ({"tune": {"optimizer.lr": 1e-3}}, "study.tune.optimizer.lr=0.001: expected values to try, like"),
        ({"equal": ["parameter"]}, "study.equal: parameter is unknown .*parameters"),
        ({"metric": "test/loss"}, "study.metric=test/loss: settings are selected on the .*'validation/loss'"),
        ({"metric": "validation/mine", "direction": "up"}, "study.direction=up: expected minimize or maximize"),
        ({"budget": {"tokens": 5}}, r"study.budget.tokens: unknown \(tokens are given as budget.tokens\)"),
        ({"budget": {"flops": -1}}, "study.budget.flops=-1: expected a number above 0"),
        ({"budget": {"flops": 1e9, "seconds": 3}}, "study.budget: expected one of flops, seconds, or null"),
        ({"budget": {}}, "study.budget: expected one of flops, seconds, or null"),
    ],
)
def test_a_section_that_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(UserError, match=message) as refused:
        Study.read(SECTION | change)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({}, ["seed=3"], "seed=3: decided by study.seeds"),
        ({}, ["model=gru"], "model=gru: decided by study.arms"),
        ({}, ["optimizer.lr=1"], "optimizer.lr=1: decided by study.tune"),
        ({}, ["sweep=random"], "sweep=random: a study is its own search"),
        ({}, ["model.depth=2,3"], "model.depth: several values"),
        ({"budget": {"seconds": 60}}, ["budget.tokens=10"], "budget.tokens=10: decided by study.budget"),
        ({"arms": {"a": ["model=lstm,gru"], "b": []}}, [], "study.arms.a: model has several values"),
        ({"arms": {"a": ["seed=1"], "b": []}}, [], "study.arms.a: seed=1 cannot be part of an arm"),
        ({"arms": {"a": ["budget.tokens=1"], "b": []}, "budget": {"flops": 9}}, [], "study.arms.a: budget.tokens=1 is"),
        ({"tune": {"model.width": "1,2"}}, [], "study.tune.model.width: decided by study.arms.wide"),
        ({"tune": {"seed": "1,2"}}, [], "study.tune.seed: decided by study.seeds"),
        ({"tune": {"budget.tokens": "1,2"}, "budget": {"flops": 9}}, [], "study.tune.budget.tokens: decided by"),
        ({"tune": {"a": "3"}}, [], "study.tune.a=3: expected several values, or an interval"),
        ({"trials": None}, [], "study.trials: optimizer.lr varies in an interval, so give the number of draws"),
    ],
)
def test_what_two_places_decide_is_refused(change, words, message):
    study = Study.read(SECTION | change)
    with pytest.raises(UserError, match=message):
        own = study.own_words(words)
        for arm in study.arms:
            study.candidates(arm, own)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data", {"data": {"_target_": "x", "length": 3}}),
        ("tokenizer", {"tokenizer": {"size": 9}}),
        ("budget", {"budget": {"tokens": 7}}),
        ("context", {"batch": {"context": 32, "size": 4, "carry_state": False}}),
        ("context", {"batch": {"context": 16, "size": 4, "carry_state": True}}),
        ("parameters", {"model": {"parameters_of": "matmul"}}),
    ],
)
def test_what_is_held_equal_may_not_differ(name, change):
    config = {
        "data": {"_target_": "x", "length": 2},
        "tokenizer": {"size": 8},
        "budget": {"tokens": 8},
        "batch": {"context": 16, "size": 4, "carry_state": False},
        "model": {"parameters_of": "total"},
    }
    with pytest.raises(UserError, match=rf"study.arms.b: .* in a, and study.equal has {name}"):
        Study.read(SECTION | {"equal": [name]}).check_equal(config, config | change, "study.arms.b", "a")
    others = [other for other in EQUAL if other != name]
    Study.read(SECTION | {"equal": others}).check_equal(config, config | change, "study.arms.b", "a")
    larger = config | {"batch": {**config["batch"], "size": 8}}
    Study.read(SECTION | {"equal": [*EQUAL]}).check_equal(config, larger, "study.arms.b", "a")


def test_a_sweep_says_which_study_it_is_of(tmp_path):
    study = Study.read(SECTION)
    sweep = Sweep(tmp_path / "a")
    sweep.begin(["experiment=x"], {}, {}, study.section)
    sweep.end("finished")
    assert Study.of(Sweep(tmp_path / "a")) == Study.read(study.section)
    assert sweep.command == "lmlab study experiment=x"
    other = Sweep(tmp_path / "b")
    other.begin(["-m", "seed=1,2"], {}, {})
    other.end("finished")
    assert other.command == "lmlab train -m seed=1,2"
    with pytest.raises(UserError, match="not the sweep of a study"):
        Study.of(other)


def test_an_arm_without_an_option_tries_fewer_combinations_and_as_many_draws():
    section = SECTION | {"tune": {"a.heads": "2,4", "a.lr": "1,2,3"}, "trials": None}
    configs = {True: {"a": {"heads": None, "lr": 1}}, False: {"a": {"lr": 1}}}
    study = Study.read(section)
    own = {has: study.candidates("lstm", [], config) for has, config in configs.items()}
    assert len(own[True]) == 6 and [words[1:] for words in own[False]] == [[f"a.lr={lr}"] for lr in (1, 2, 3)]
    drawn = Study.read(section | {"trials": 5})
    more, fewer = (drawn.candidates("lstm", [], config) for config in configs.values())
    assert [[word for word in words if "heads" not in word] for words in more] == fewer and len(fewer) == 5
    only = Study.read(section | {"tune": {"a.heads": "2,4"}})
    assert only.candidates("lstm", [], configs[False]) == [["model=lstm"]]
