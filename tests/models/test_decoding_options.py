"""Settings of decoding by the names of options: what they mean, and which replace which."""

import subprocess
import sys

import pytest

from lmlab.errors import UserError
from lmlab.models.decoding import Decoding
from lmlab.models.decoding_options import checked, decoding_of, line, replaced

BEAMS = {"beams": 4, "length_penalty": 0.6}
SAMPLED = {"temperature": 0.7, "top_p": 0.9, "seed": 3}


@pytest.mark.parametrize(
    ("settings", "decoding"),
    [
        ({}, Decoding(greedy=True, length=9)),
        ({"beams": 1, "repetition_penalty": 1.2}, Decoding(greedy=True, length=9, repetition_penalty=1.2)),
        (BEAMS, Decoding(beams=4, length_penalty=0.6, length=9)),
        (SAMPLED, Decoding(temperature=0.7, top_p=0.9, length=9)),
        ({"greedy": False}, Decoding(length=9)),
        ({"top_k": 5, "length": 4, "stop": ["a"]}, Decoding(top_k=5, length=4, stop=("a",))),
    ],
)
def test_settings_are_greedy_unless_they_choose_otherwise(settings, decoding):
    assert decoding_of(settings, 9) == decoding


@pytest.mark.parametrize(
    ("task", "typed", "result"),
    [
        (BEAMS, {"greedy": True}, {"greedy": True}),
        (BEAMS, {"beams": 1}, {"beams": 1}),
        (BEAMS, {"beams": 2}, {"beams": 2, "length_penalty": 0.6}),
        (BEAMS, {"length_penalty": 1.0}, {"beams": 4, "length_penalty": 1.0}),
        (BEAMS | {"stop": ["x"]}, {"top_p": 0.5}, {"top_p": 0.5, "stop": ["x"]}),
        (SAMPLED, {"top_p": 0.5}, SAMPLED | {"top_p": 0.5}),
        (SAMPLED | {"repetition_penalty": 1.2}, BEAMS, BEAMS | {"repetition_penalty": 1.2}),
        ({"temperature": 0.8, "length": 200}, {"length": 5}, {"temperature": 0.8, "length": 5}),
        ({"greedy": True}, {"temperature": 1.0}, {"temperature": 1.0}),
    ],
)
def test_another_way_of_decoding_leaves_out_the_options_of_the_earlier_one(task, typed, result):
    assert replaced(task, typed) == result
    decoding_of(result)


def test_only_what_is_sampled_has_a_seed():
    assert line(decoding_of(SAMPLED, 9), 3) == "temperature=0.7 top_p=0.9 length=9 seed=3"
    assert line(decoding_of(BEAMS, 9)) == "beams=4 length_penalty=0.6 length=9"
    assert line(decoding_of({}, 9)) == "greedy=true length=9"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"repetition": 2}, r"data\.decoding\.repetition: .* \(did you mean 'repetition_penalty'\?\)"),
        ({"beams": 0}, r"data\.decoding\.beams=0: expected a whole number of at least 1"),
        ({"beams": "many"}, r"data\.decoding\.beams=many: expected a whole number or null"),
        ({"length_penalty": 0.6}, r"data\.decoding\.length_penalty=0\.6: is for beam search; choose beams=2"),
        ({"seed": 2}, r"data\.decoding\.seed=2: nothing is sampled; choose temperature=1"),
        ({"beams": 2, "top_k": 3}, r"data\.decoding\.beams=2: cannot be combined with top_k=3"),
        ({"stop": ["a", ""]}, r"data\.decoding\.stop=.*: expected texts of at least one character"),
    ],
)
def test_a_section_that_cannot_be_is_refused_by_the_names_of_its_options(section, message):
    with pytest.raises(UserError, match=message):
        checked(section, "data.decoding.")


def test_a_section_keeps_what_has_a_value():
    section = {"beams": None, "temperature": 1, "stop": "\\n", "greedy": None}
    assert checked(section) == {"temperature": 1, "stop": ["\n"]}


def test_settings_are_checked_without_torch():
    program = "import sys, lmlab.data.examples, lmlab.models.decoding_options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
