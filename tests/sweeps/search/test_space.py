import pytest

from lmlab.errors import UserError
from lmlab.sweeps.search import Halving, Random, Space


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a=[1"], "a=[1: cannot be read"),
        (["a=interval(2,1)"], "expected an interval from a number to a larger one"),
        (["a=tag(log,interval(0,1))"], "a logarithmic interval begins above 0"),
        (["a=tag(lin,interval(0,1))"], "unknown tag; expected log"),
        (["a=tag(log,choice(1,2))"], "only an interval can have a tag"),
        (["a=range(5,5)"], "holds no value"),
        (["sweep=grid,random"], "one search at a time"),
        (["sweep.trials=1,2"], "one search at a time"),
    ],
)
def test_what_cannot_be_searched_is_one_clear_line(words, message):
    with pytest.raises(UserError) as error:
        Space(words)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_later_word_takes_the_place_of_an_earlier_one():
    space = Space(["seed=1,2,3", "model=lstm", "seed=5"])
    assert space.varied == [] and space.fixed == ["seed=5", "model=lstm"]


def test_what_the_search_is_told_is_no_part_of_a_job():
    space = Space(["sweep=random", "sweep.trials=3", "+sweep.x=1", "model=lstm", "~a", "+sweeping=1"])
    assert space.fixed == ["model=lstm", "~a", "+sweeping=1"]


def test_a_shuffled_list_has_the_same_order_whenever_it_is_asked_for():
    first, second = (list(Space(["a=shuffle(range(0,50))"]).combinations()) for _ in range(2))
    assert first == second != sorted(first, key=lambda words: int(words[0][2:]))
    assert len({*map(tuple, first)}) == 50


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("a=int(interval(1,3))", {"1", "2", "3"}),
        ("a=int(tag(log,interval(1,3)))", {"1", "2", "3"}),
        ("a=range(9,2,-3)", {"9", "6", "3"}),
        ("a=range(0,1,0.25)", {"0.0", "0.25", "0.5", "0.75"}),
        ("a='x, y',null,[1,2]", {"'x, y'", "null", "[1,2]"}),
    ],
)
def test_draws_are_exactly_the_values_that_there_are(word, values):
    space = Space([word])
    assert {space.draw(0, number)[0].removeprefix("a=") for number in range(200)} == values


HEADS = ["a.heads=2,4", "seed=1,2"]
"""Options of which the first exists with b alone."""


class Groups:
    """Knows the options of one group, as Hydra's loader does."""

    def get_group_options(self, group, kind):
        return ["a", "b"] if group == "arm" else []


def lacking(groups, options):
    return {option for option in options if option == "a.heads" and "arm=b" not in groups}


def conditional(*words):
    return Space(words, Groups(), lacking)


def test_an_option_of_one_arm_is_varied_in_that_arm_alone():
    space = conditional("arm=a,b", *HEADS)
    assert [" ".join(words) for words in space.combinations()] == [
        *(f"arm=a seed={seed}" for seed in (1, 2)),
        *(f"arm=b a.heads={heads} seed={seed}" for heads in (2, 4) for seed in (1, 2)),
    ]
    assert space.conditional == {"a.heads": [{"arm": "b"}]}


def test_a_choice_of_one_value_is_fixed_where_the_option_exists():
    space = conditional("arm=a,b", "a.heads=choice(2)")
    assert list(space.combinations()) == [["arm=a"], ["arm=b", "a.heads=2"]]
    assert space.fixed == ["a.heads=2"] and space.conditional == {"a.heads": [{"arm": "b"}]}


def test_the_same_job_twice_stays_twice():
    assert len(list(conditional("arm=a,b", "seed=1,1").combinations())) == 4
    assert len(list(conditional("arm=a,b", "a.heads=2,4", "seed=1,1").combinations())) == 6


def test_draws_have_the_options_of_their_arm_with_the_values_that_they_would_have():
    space, without = conditional("arm=a,b", *HEADS), Space(["arm=a,b", *HEADS])
    for number in range(50):
        words = without.draw(1, number)
        assert space.draw(1, number) == [word for word in words if "arm=b" in words or "heads" not in word]


def test_searches_compute_what_a_space_proposes():
    random = Random(conditional("arm=a,b", *HEADS), trials=30)
    proposed = [random.ask().overrides for _ in range(30)]
    assert {len(words) for words in proposed if "arm=a" in words} == {2}
    assert {len(words) for words in proposed if "arm=b" in words} == {3}
    assert Halving(conditional("arm=a,b", *HEADS), tokens=10, trials=None).total == 6 + 2


def test_what_no_arm_has_is_known_and_a_configuration_is_composed_once():
    composed = []

    def count(groups, options):
        composed.append(groups)
        return {"a.none"}

    space = Space(["arm=a,b", "a.none=1,2", "a.lr=interval(0,1)"], Groups(), count)
    assert space.conditional == {"a.none": []}
    for number in range(20):
        space.draw(1, number)
    assert sorted(composed) == [("arm=a",), ("arm=b",)]
