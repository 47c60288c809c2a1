"""References to other options, and where ``${`` is text."""

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lmlab.config.references import explained, with_literal_texts


@pytest.mark.parametrize("text", ["${HOME} is", "costs ${", "const s = `hi ${name}`;", "\\${x}", "plain"])
def test_a_literal_text_of_a_file_is_what_stands_there(text):
    shown = text.removeprefix("\\")  # a backslash before a reference has always made it text
    section = {"tags": [text, "x"], "study": {"arms": {"a": [text]}}}
    plain = OmegaConf.to_container(OmegaConf.create(with_literal_texts(section)), resolve=True)
    assert plain == {"tags": [shown, "x"], "study": {"arms": {"a": [shown]}}}
    below = OmegaConf.create(with_literal_texts({"prompt": text}, "callbacks.samples"))
    assert below.prompt == shown


def test_other_options_refer_to_options():
    section = {"batch": {"size": 4}, "name": "b${batch.size}"}
    assert OmegaConf.to_container(OmegaConf.create(with_literal_texts(section)), resolve=True)["name"] == "b4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${nope}/x", "data.paths: ${nope}: there is no such option to refer to; \\${ stands for the characters"),
        ("${HOME}", "${oc.env:HOME} for the variable"),
        ("${oc.env:NO_SUCH}", "data.paths: Environment variable 'NO_SUCH' not found"),
        ("${f:1}", "data.paths: ${f:...}: there is no such function; \\${ stands for the characters"),
        ("a ${", "data.paths: ${ begins a reference to another option, which cannot be read; \\${ stands for"),
    ],
)
def test_a_reference_that_leads_nowhere_is_explained_in_one_line(text, message, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    with pytest.raises(OmegaConfBaseException) as refused:
        OmegaConf.to_container(OmegaConf.create({"data": {"paths": text}}), resolve=True)
    assert message in explained(refused.value)
    assert len(explained(refused.value).splitlines()) == 1
