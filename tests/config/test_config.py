import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.config.check import check_arguments, validate
from lmlab.config.experiment import Experiment
from lmlab.config.identity import NOT_IDENTITY, identity
from lmlab.config.nodes import at, differences, has
from lmlab.errors import UserError

CONFIG = {
    "name": "a",
    "tags": [],
    "rerun": False,
    "progress": True,
    "seed": 1,
    "paths": {"outputs": "x"},
    "logger": {"wandb": {}},
    "callbacks": {"checkpoint": {"every": None}, "samples": {}, "early_stopping": {"patience": 3}},
    "model": {"width": 16},
    "data": {"licence": None},
    "trainer": {"precision": "32-true", "devices": 1},
    "execution": {"restarts": 1},
    "start": {"run": "3f9a126b0c", "directory": "/x", "checkpoint": "final", "optimizer": False},
}


@pytest.mark.parametrize("key", NOT_IDENTITY)
def test_what_cannot_change_a_result_is_no_part_of_the_identity(key):
    changed = copy.deepcopy(CONFIG)
    *parents, last = key.split(".")
    node = changed
    for parent in parents:
        node = node[parent]
    node[last] = "something else"
    assert identity(changed) == identity(CONFIG)


@pytest.mark.parametrize("change", [{"seed": 2}, {"model": {"width": 17}}, {"callbacks": {}}, {"new": 1}])
def test_everything_else_is_part_of_the_identity(change):
    assert identity(CONFIG | change) != identity(CONFIG)


def test_a_run_without_a_parent_has_the_identity_that_it_had_before_there_were_any():
    start = CONFIG["start"]
    before = {key: value for key, value in CONFIG.items() if key != "start"}
    assert identity(before | {"start": start | {"run": None, "directory": None}}) == identity(before)
    for change in ({"run": "77b2c0aaaa"}, {"checkpoint": "80"}, {"optimizer": True}):
        assert identity(CONFIG | {"start": start | change}) != identity(CONFIG)


def test_options_that_are_off_leave_the_identity_of_runs_from_before_there_were_any():
    before = CONFIG | {
        "model": {"width": 8, "block": {"_target_": "b"}},
        "validation": {"times": 2},
        "batch": {"size": 4},
    }
    off = {
        "batch": {"size": 4, "documents": "packed"},
        "model": {"width": 8, "ngrams": None, "block": {"_target_": "b", "token_shift": None}},
        "validation": {"times": 2, "share": None},
    }
    assert identity(before | off) == identity(before)
    for section, options in (
        ("model", {"ngrams": [9]}),
        ("model", {"block": {"_target_": "b", "token_shift": 0.0}}),
        ("batch", {"documents": "separate"}),
    ):
        assert identity(before | off | {section: off[section] | options}) != identity(before)


def test_identity_does_not_depend_on_the_order_of_keys():
    assert identity(dict(reversed(CONFIG.items()))) == identity(CONFIG)


values = st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner))


@given(st.dictionaries(st.sampled_from("abcd"), values), st.dictionaries(st.sampled_from("abcd"), values))
def test_differences_are_none_exactly_when_configurations_agree(first, second):
    assert (differences(first, second) == {}) == (_without_empty(first) == _without_empty(second))
    assert differences(first, first) == {}


def _without_empty(node):
    if not isinstance(node, dict):
        return node
    return {key: _without_empty(value) for key, value in node.items()}


DECODING = "lmlab.models.decoding.Decoding"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"temprature": 1.0}, r"x\.temprature: .* \(did you mean 'temperature'\?\)"),
        ({"temperature": "hot"}, r"x\.temperature=hot: expected a number, got str"),
        ({"top_k": 1.5}, r"x\.top_k=1\.5: expected a whole number or null, got float"),
        ({"top_k": True}, r"x\.top_k=true: expected a whole number or null, got bool"),
        ({"greedy": 1}, r"x\.greedy=1: expected true or false, got int"),
        ({"greedy": None}, r"x\.greedy=null: expected true or false"),
    ],
)
def test_options_are_held_against_the_signature(node, message):
    with pytest.raises(UserError, match=message):
        validate({"_target_": DECODING, **node}, "x")


def test_a_whole_number_passes_for_a_number():
    validate({"_target_": DECODING, "temperature": 1}, "x")


def test_nested_targets_are_checked_under_their_own_path():
    with pytest.raises(UserError, match=r"a\.b\.0\.oops"):
        validate({"a": {"b": [{"_target_": DECODING, "oops": 1}]}})


def test_unknown_literals_name_the_nearest():
    with pytest.raises(UserError, match=r"accelerator=cuba: unknown value \(did you mean 'cuda'\?\)"):
        validate({"_target_": "lmlab.training.trainer.build_trainer", "accelerator": "cuba"}, "trainer")


def test_a_target_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"model\._target_=lmlab\.models\.nowhere\.Model: cannot be imported"):
        validate({"_target_": "lmlab.models.nowhere.Model"}, "model")


def test_a_number_is_the_same_however_it_is_written():
    assert identity(CONFIG | {"budget": 1e6}) == identity(CONFIG | {"budget": 1_000_000})
    assert identity(CONFIG | {"lr": 0.5}) != identity(CONFIG | {"lr": 0})


def takes(sizes: Sequence[int], table: Mapping[str, float], unknown: Iterable[int] = (), **rest: int) -> None:
    """A signature with annotations that users may write."""


def test_signatures_of_users_are_understood():
    check_arguments(takes, {"sizes": [1, 2], "table": {"a": 1.0}, "unknown": [3], "more": 4})
    with pytest.raises(UserError, match=r"sizes=1: expected a list of whole numbers, as 'sizes=\[1\]'"):
        check_arguments(takes, {"sizes": 1, "table": {}})
    with pytest.raises(UserError, match="table has no value"):
        check_arguments(takes, {"sizes": []})


def test_a_type_that_only_a_type_checker_knows_is_not_checked():
    def own(width: int, other: "OnlyInTypeChecking" = None) -> None: ...  # noqa: F821

    check_arguments(own, {"width": "x", "other": 1})
    with pytest.raises(UserError, match="own has no such option"):
        check_arguments(own, {"widht": 1})


def test_values_that_are_only_written_otherwise_are_put_right():
    """As ``wandb agent`` and other programs write them."""

    def takes(
        size: int = 1,
        limit: int | None = 1,
        text: str = "",
        note: str | None = "",
        rate: float = 1,
        kind: Literal["a", "b"] | None = "a",
        seeds: Sequence[int] = (),
        tags: Sequence[str] | None = None,
        count: int | float = 1,
    ) -> None: ...

    options = {"size": 16.0, "limit": "None", "text": 2024, "note": "None", "rate": 3, "kind": "None"}
    options |= {"seeds": [1.0, 2], "tags": [1, "a"], "count": 1e6}
    check_arguments(takes, options)
    expected = {"size": 16, "limit": None, "text": "2024", "note": None, "rate": 3, "kind": None}
    expected |= {"seeds": [1, 2], "tags": ["1", "a"], "count": 1e6}
    assert options == expected
    assert [type(options[key]) for key in ("size", "rate", "count")] == [int, int, float]
    assert [type(seed) for seed in options["seeds"]] == [int, int]
    for wrong in ({"size": 16.5}, {"size": "None"}, {"rate": "None"}, {"kind": "c"}, {"seeds": [1.5]}, {"size": True}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            check_arguments(takes, wrong)


def test_an_identity_does_not_depend_on_how_a_value_is_written(compose):
    plain = compose("batch.size=16", "trainer.gradient_clip=null", "seed=1")
    assert identity(compose("batch.size=16.0", "trainer.gradient_clip=None", "seed=1.0")) == identity(plain)
    assert identity(compose("batch.size=16.0", "trainer.gradient_clip=1", "seed=1.0")) != identity(plain)


def test_words_of_other_libraries_are_known_in_sections(compose):
    with pytest.raises(
        UserError, match=r"trainer.max_steps: build_trainer has no such option; lmlab has budget.tokens"
    ):
        validate(compose("+trainer.max_steps=3")["trainer"], "trainer")


def test_options_are_found_by_their_dotted_keys():
    section = {"a": {"b": {"c": None}}, "d": 1}
    assert (at(section, "a.b"), at(section, "d"), at(section, "a.x.c"), at(section, "d.e")) == (
        {"c": None},
        1,
        None,
        None,
    )
    assert has(section, "a.b.c") and has(section, "d")
    assert not has(section, "a.b.x") and not has(section, "d.e") and not has(section, "x.y")


def test_a_budget_may_be_written_with_a_unit(compose):
    long, short = compose("budget.tokens=2_000_000"), compose("budget.tokens=2M")
    assert short["budget"]["tokens"] == 2_000_000 and identity(short) == identity(long)


def test_embeddings_of_shared_tokens_are_part_of_the_identity_and_their_default_is_not(compose):
    config = compose("start.run=3f9a")
    earlier = config | {"start": {"run": "3f9a", "checkpoint": "final", "optimizer": False}}
    assert identity(config) == identity(earlier)
    assert identity(compose("start.run=3f9a", "start.embeddings=overlap")) != identity(config)


@pytest.mark.parametrize("option", ["optimizer=true", "checkpoint=best", "embeddings=overlap"])
def test_options_of_a_parent_need_one(option, compose):
    with pytest.raises(UserError, match=rf"start\.{option}: needs start\.run=\.\.\."):
        _ = Experiment.of(compose(f"start.{option}")).start
