"""Overrides as people type them."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lmlab.config.overrides import as_typed, is_addition, of_study, option_of, plain_word, read, written
from lmlab.config.references import LITERAL, TEXTS
from lmlab.errors import UserError


def parsed(word):
    """What Hydra makes of an override: its value, or the values of a sweep."""
    (override,) = OverridesParser.create().parse_overrides([word])
    if not override.is_sweep_override():
        return resolved(override.value())
    values = override.sweep_string_iterator()
    return [resolved(OverridesParser.create().parse_overrides([f"x={value}"])[0].value()) for value in values]


def resolved(value):
    return OmegaConf.to_container(OmegaConf.create({"x": value}), resolve=True)["x"]


TYPED = [
    ("data.paths=~/notes.txt", "~/notes.txt"),
    ("data.paths=[~/a.txt,b.txt]", ["~/a.txt", "b.txt"]),
    ("data.paths=['a, b.txt', lr=0.1.txt]", ["a, b.txt", "lr=0.1.txt"]),
    ("data.paths=lr=0.1.txt", "lr=0.1.txt"),
    (
        "data.paths={train: [~/a.txt, b.txt], validation: été.txt}",
        {"train": ["~/a.txt", "b.txt"], "validation": "été.txt"},
    ),
    ("data.paths=null", None),
    ("data.paths=données/été.txt", "données/été.txt"),
    ("tags=[größe]", ["größe"]),
    ("tags=[1e5,null,${x},don't]", ["1e5", "null", "${x}", "don't"]),
    ("tags=[]", []),
    ("name=实验", "实验"),
    ("name=2024", "2024"),
    ("name=a b", "a b"),
    ("run=outputs/runs/lr=0.1-e5de571d98", "outputs/runs/lr=0.1-e5de571d98"),
    ("run=6004337371", "6004337371"),
    ("run=12e5", "12e5"),
    ("run=1_0-2", "1_0-2"),
    ("run=null", None),
    ("runs=null", None),
    ("runs=[abc,12e5]", ["abc", "12e5"]),
    ("prompt=const s = `hi ${name}`;", "const s = `hi ${name}`;"),
    ("prompt=costs ${", "costs ${"),
    ("prompt=null", "null"),
    ("prompt=[x]", "[x]"),
    ("prompt=  two spaces ", "  two spaces "),
    ("prompt=\n", "\n"),
    ("callbacks.samples.prompt=${HOME} is", "${HOME} is"),
    ("callbacks.samples.prompt='${HOME} is'", "${HOME} is"),
    ("data.train=[~/a.txt,b.txt]", ["~/a.txt", "b.txt"]),
    ("data.validation=0.1", 0.1),
    ("data.test=0", 0),
    ("data.validation=~/notes/*.txt", "~/notes/*.txt"),
    ("data.field=2", "2"),
    ("optimizer.lr=3e-3", 3e-3),
    ("optimizer.lr=3e-3;", "3e-3;"),
    ("+user.text=[é,1]", ["é", 1]),
    ("model.pattern=[attention,mamba2]", ["attention", "mamba2"]),
]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("word", "value"), TYPED)
def test_a_text_is_what_was_typed(word, value, several):
    once = read(word, several)
    assert parsed(once) == value
    assert read(once, several) == once


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("logger.wandb.notes=baseline, lr=3e-3: second try (see #12)", "baseline, lr=3e-3: second try (see #12)"),
        ("data.paths=notes (v2), final #1.txt", "notes (v2), final #1.txt"),
        ("prompt=a,b", "a,b"),
        ("prompt=choice(a,b)", "choice(a,b)"),
        ("runs=abc,12e5", ["abc", "12e5"]),
        ("formats=html,png", ["html", "png"]),
    ],
)
def test_without_a_sweep_a_comma_is_part_of_a_text(word, value):
    assert parsed(read(word)) == value


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("run=abc,12e5", ["abc", "12e5"]),
        ("data.paths=~/a.txt,b.txt", ["~/a.txt", "b.txt"]),
        ("data.paths=[~/a.txt,b.txt],[c.txt]", [["~/a.txt", "b.txt"], ["c.txt"]]),
        ("data.paths='a, b.txt','c (1).txt'", ["a, b.txt", "c (1).txt"]),
        ("name=choice(a,b)", ["a", "b"]),
        ("tags=[größe],[]", [["größe"], []]),
        ("callbacks.samples.prompt=${a},${b", ["${a}", "${b"]),
        ("seed=1,2", [1, 2]),
    ],
)
def test_in_a_sweep_a_comma_separates_texts(word, values):
    assert parsed(read(word, several=True)) == values


@pytest.mark.parametrize(
    ("word", "several"),
    [
        ("logger.wandb.notes=baseline, lr=3e-3: second try (see #12)", True),
        ("prompt=Hello, world's", True),
        ("data.paths=notes (v2), final #1.txt", True),
        ("data.paths=a.txt,b.txt", False),
        ("tags=a,b", False),
    ],
)
def test_what_can_be_read_in_two_ways_is_shown_in_forms_that_can_be_typed(word, several):
    with pytest.raises(UserError) as refused:
        read(word, several)
    message = str(refused.value).removeprefix(word)
    key, _, text = word.partition("=")
    parts = [part.strip() for part in text.split(",")]
    forms = [form for form in shlex.split(message) if form.startswith(f"{key}=")]
    assert [parsed(read(form, several)) for form in forms] in ([text, parts], [parts, text], [parts])


@pytest.mark.parametrize("word", ["x y=3", "größe=3", "=3", "foo", "seed=[1", "x={a:é}"])
def test_what_cannot_be_read_is_refused_in_plain_words(word):
    with pytest.raises(UserError, match="cannot be read; expected") as refused:
        read(word)
    assert str(refused.value).startswith(f"{word}: ")


ANYTHING = st.text(st.one_of(st.sampled_from("\\${}'\"[],=:#~ \n(é"), st.characters(exclude_categories=["Cs"])))


@given(ANYTHING)
def test_any_text_of_a_prompt_arrives(text):
    quoted = len(text) > 1 and text.strip()[:1] in "'\"" and text.strip()[:1] == text.strip()[-1:]
    word = read(f"prompt={text}")
    assert read(word) == word
    if not quoted:
        assert parsed(word) == text
        assert parsed(read(f"tags={written([text])}")) == [text]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-3, "0.001"),
        (0.00123456789, "0.00123456789"),
        (1e-5, "1e-05"),
        (float("inf"), "inf"),
        (["attention", "mamba2"], "[attention,mamba2]"),
        (["a, b", None, 1], '["a, b",null,1]'),
        ({"a": 1, "b": "x y"}, '{a:1,b:"x y"}'),
        ([], "[]"),
    ],
)
def test_a_value_is_shown_as_it_is_typed(value, text):
    assert written(value) == text
    assert parsed(read(f"option={text}")) == value


@given(st.floats(allow_nan=False))
def test_a_number_is_shown_with_all_of_its_digits(number):
    assert parsed(read(f"optimizer.lr={written(number)}")) == number


def test_literal_options_are_texts():
    assert set(TEXTS) >= LITERAL


@pytest.mark.parametrize(
    ("typed", "several", "expected"),
    [
        ("tags+=x", False, "tags+=x"),
        ("tags+=~a b", False, 'tags+="~a b"'),
        ("tags+=a,b", True, "tags+=a,b"),
        ("tags+=[a, b c]", False, 'tags+=[a,"b c"]'),
        ("study.arms.lstm+=model.depth=3", False, 'study.arms.lstm+="model.depth=3"'),
        ("+tags+=x", False, "tags+=x"),
    ],
)
def test_additions_are_read_as_values_are(typed, several, expected):
    assert read(typed, several) == expected == read(expected, several)
    assert is_addition(expected) and plain_word(expected) == expected.replace("+=", "=")


def test_the_option_of_a_word_has_no_marks():
    for word in ("a.b=1", "+a.b=1", "++a.b=1", "~a.b", "a.b+=1", "a.b@c=1"):
        assert option_of(word) == "a.b"
    assert not is_addition("a=b+=c") and plain_word("a=b+=c") == "a=b+=c"


@pytest.mark.parametrize(
    ("typed", "several", "expected"),
    [
        ("stages.tune.seed=2", False, "++stages._changed_.tune.seed._value_=2"),
        ("stages.tune.optimizer.lr=1e-3,3e-3", True, "++stages._changed_.tune.optimizer.lr._value_=1e-3,3e-3"),
        ("stages.tune.model/mixer=gru", False, "++stages._changed_.tune.model$mixer._value_=gru"),
        ("stages.tune.start.run=über", False, "++stages._changed_.tune.start.run._value_='über'"),
        ("stages.tune=[seed=2]", False, None),
    ],
)
def test_an_option_of_a_stage_is_kept_beside_its_list(typed, several, expected):
    word = read(typed, several)
    assert read(word, several) == word, "reading it again changes nothing"
    assert word.replace('"', "'") == expected or expected is None
    assert option_of(word) == typed.partition("=")[0]
    if expected is not None:
        assert as_typed(f"{word}: wrong") == typed.partition("=")[0] + "=" + word.partition("=")[2] + ": wrong"


def test_adding_to_a_list_of_a_stage_says_how():
    with pytest.raises(UserError, match=r"stages.tune.tags\+=x: expected .*stages.tune\+="):
        read("stages.tune.tags+=x")


@pytest.mark.parametrize(
    "word", ["study.trials=20", "study.question='a b'", "study.tune.optimizer.lr=1e-3,3e-3", "study.seeds=[1,2]"]
)
def test_options_of_a_study_are_shown_as_they_were_typed(word):
    assert as_typed(of_study(word)) == word
    assert as_typed(f"no such study: {of_study(word)}") == f"no such study: {word}"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (r'data.template.input="{a}\n{b}"', "{a}\n{b}"),
        (r"data.template.input='{a}\n{b}'", "{a}\n{b}"),
        (r'data.template.input="{a}\\n{b}"', r"{a}\\n{b}"),
    ],
)
def test_line_ends_in_templates_are_typed_as_in_yaml(typed, expected, compose):
    template = compose("data=records", "data.paths=x.jsonl", read(typed))["data"]["template"]
    assert template["input"] == expected
