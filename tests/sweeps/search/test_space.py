import itertools
import re

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
        (["a=range(5,5)"], "has no values"),
        (["sweep=grid,random"], "one search at a time"),
        (["sweep.trials=1,2"], "one search at a time"),
        (["sweep.zip=a,b"], "expected a list, as sweep.zip=[a,b]"),
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


def test_zipped_options_are_paired_and_combined_with_the_others():
    words = ["w=16,32,64", "seed=1,2", "lr=range(3,0,-1)", "model=lstm"]
    jobs = [tuple(job) for job in Space(words, zipped=[["lr", "w"]]).combinations()]
    pairs = zip((16, 32, 64), (3, 2, 1), strict=True)
    assert jobs == [
        (f"w={w}", f"seed={seed}", f"lr={lr}", "model=lstm") for (w, lr), seed in itertools.product(pairs, (1, 2))
    ]


def test_several_groups_of_options_are_zipped_each_by_itself():
    space = Space(["a=1,2", "b=x,y", "c=3,4,5", "+d=choice(p,q,r)"], zipped=[["a", "b"], ["c", "d"]])
    expected = {(f"a={a}", f"b={b}", f"c={c}", f"+d={d}") for a, b in ("1x", "2y") for c, d in ("3p", "4q", "5r")}
    jobs = [tuple(job) for job in space.combinations()]
    assert set(jobs) == expected and len(jobs) == 6


@pytest.mark.parametrize(
    "search", [lambda space: Random(space, trials=40), lambda space: Halving(space, tokens=10, trials=40)]
)
def test_draws_keep_zipped_values_together(search):
    jobs = search(Space(["w=range(3,0,-1)", "lr=x,y,z", "seed=1,2"], zipped=[["w", "lr"]]))
    drawn = [tuple(jobs.ask().overrides[:3]) for _ in range(40)]
    assert {job[:2] for job in drawn} == {("w=3", "lr=x"), ("w=2", "lr=y"), ("w=1", "lr=z")}
    assert len(set(drawn)) == 6, "the seed is drawn by itself"


def test_the_jobs_that_are_tried_beforehand_have_every_zipped_pair():
    space = Space(["arm=a,b", "w=0.1,0.2,0.3", "lr=0.1,0.2,0.3"], Groups(), zipped=[["w", "lr"]])
    pairs = {("w=0.1", "lr=0.1"), ("w=0.2", "lr=0.2"), ("w=0.3", "lr=0.3")}
    for arm, jobs in zip("ab", space.samples(), strict=True):
        assert {tuple(job) for job in jobs} == {(f"arm={arm}", *pair) for pair in pairs}
    space = Space(["arm=a,b", "w=1,2", "seed=1,2"], Groups(), zipped=[["w", "arm"]])
    assert space.choices == [{"arm": "a"}, {"arm": "b"}]
    assert [{tuple(job[:2]) for job in jobs} for jobs in space.samples()] == [{("arm=a", "w=1")}, {("arm=b", "w=2")}]


def test_what_an_arm_lacks_of_a_pair_leaves_the_rest_of_the_pair():
    space = Space(["arm=a,b", "a.heads=2,4", "lr=1,2"], Groups(), lacking, [["a.heads", "lr"]])
    assert [" ".join(words) for words in space.combinations()] == [
        *("arm=a lr=1", "arm=a lr=2"),
        *("arm=b a.heads=2 lr=1", "arm=b a.heads=4 lr=2"),
    ]
    space = Space(["arm=a,b,b", "a.heads=2,4,4", "lr=1,1,1"], Groups(), lacking, [["a.heads", "lr"]])
    assert [words for words in space.combinations() if "arm=a" in words] == [["arm=a", "lr=1"]]


@pytest.mark.parametrize(
    ("words", "zipped", "message"),
    [
        (["w=1,2", "lr=1,2,3"], ["w", "lr"], "expected as many values for each, but w has 2, lr has 3"),
        (["w=1,2", "lr=1"], ["w", "lr"], "w has 2, lr has 1"),
        (["model.width=1,2", "lr=1,2"], ["model.widht", "lr"], "model.widht is not varied in this sweep (did you mean"),
        (["w=1,2", "lr=interval(1,2)"], ["w", "lr"], "lr varies in an interval, which has no values to pair"),
    ],
)
def test_what_cannot_be_paired_is_refused(words, zipped, message):
    with pytest.raises(UserError, match=rf"^sweep\.zip=\[{','.join(zipped)}\]: .*{re.escape(message)}"):
        Space(words, zipped=[zipped])


def test_single_values_can_be_paired_and_stay_fixed():
    space = Space(["w=1", "lr=2", "seed=1,2"], zipped=[["w", "lr"]])
    assert len(list(space.combinations())) == 2 and space.zipped == []
