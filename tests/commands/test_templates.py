"""A task's template, applied to an input from the command line."""

import pytest

from lmlab.commands.templates import check_input, examples_of, prompt_of
from lmlab.errors import UserError
from lmlab.runs.run import Run


@pytest.fixture
def corpora(tmp_path):
    (tmp_path / "multi30k").mkdir()
    for language, line in (("en", "A dog."), ("de", "Ein Hund.")):
        (tmp_path / "multi30k" / f"train.{language}").write_text(f"{line}\n" * 3)
    return {"outputs": str(tmp_path), "runs": str(tmp_path), "cache": str(tmp_path), "corpora": str(tmp_path)}


@pytest.fixture
def prompted(compose, corpora, tmp_path):
    def prompt(input, *words, paths=corpora):
        examples = examples_of(input, compose("data=multi30k", *words)["data"], Run(tmp_path))
        return prompt_of(input, examples, paths).text

    return prompt


def test_an_input_is_put_into_the_template_as_it_is_typed(prompted):
    text = 'Two dogs, "a" cat: {x} ${y}'
    assert prompted(text) == f"Translate from English to German.\n{text}\n"
    assert prompted("A", "data.source=de", "data.target=en") == "Translate from German to English.\nA\n"


def test_fields_can_be_named_and_then_need_no_files(prompted, corpora):
    fields = '{"source": "A", "source_language": "English", "target_language": "Dutch"}'
    nowhere = corpora | {"cache": "nowhere", "corpora": None}
    assert prompted(fields, paths=nowhere) == "Translate from English to Dutch.\nA\n"
    with pytest.raises(
        UserError, match="input=A: the template of multi30k needs the field source_language as well, as"
    ):
        prompted("A", paths=nowhere)


def test_fields_that_differ_between_records_are_not_guessed(prompted, corpora, tmp_path):
    (tmp_path / "multi30k" / "train.de").write_text("Ein Hund.\nEine Katze.\nEin Huhn.\n")
    with pytest.raises(UserError, match="needs the field target as well"):
        prompted("A", "data.template.instruction='Like {target}'")


def test_an_input_that_does_not_fit_is_refused(prompted, compose, corpora, tmp_path):
    with pytest.raises(UserError, match=r"input: the template has no field sourc \(did you mean 'source'"):
        prompted('{"sourc": "A"}')
    with pytest.raises(UserError, match="has the fields source and target; expected all, as 'input="):
        prompted("A", "data.template.input='{source} {target}'")
    with pytest.raises(UserError, match="data=wikitext2 has no template"):
        examples_of("A", compose("data=wikitext2")["data"], Run(tmp_path))
    with pytest.raises(UserError, match="prompt=b: cannot be combined with input=A"):
        check_input("A", "b", None, None)
    with pytest.raises(UserError, match="data: is for input="):
        check_input(None, "", None, {"_target_": "x"})
