"""Mixtures: each row from one part, drawn by weight; every part in its own order; found again without its texts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lmlab.config.experiment import Experiment
from lmlab.data.corpora import Text
from lmlab.data.dataset import Dataset, Opening, Prepared
from lmlab.data.examples import Records
from lmlab.data.mixture import Mixture
from lmlab.data.synthetic import Parity
from lmlab.data.tokenizers import BPE, Byte
from lmlab.errors import UserError
from lmlab.training.preflight import build_data

SIZE, CONTEXT = 12, 16


def text(folder, name: str, letters: str, words: int) -> Text:
    random = np.random.default_rng(len(letters))
    path = folder / f"{name}.txt"
    path.write_text("".join("".join(random.choice([*letters], 5)) + " \n"[n % 9 == 0] for n in range(words)))
    return Text([str(path)])


@pytest.fixture
def opening(tmp_path) -> Opening:
    return Opening(Byte(), 3, SIZE, CONTEXT, False, None, tmp_path / "cache")


def parts(folder) -> dict[str, Text]:
    return {"lower": text(folder, "lower", "abcd", 4000), "upper": text(folder, "upper", "XYZ", 1000)}


def rows(task, steps: int) -> np.ndarray:
    return np.concatenate([task.training_batch(step, 0, 1, 0, 1).tokens.numpy() for step in range(steps)])


def is_upper(tokens_RT: np.ndarray) -> np.ndarray:
    upper_RT, lower_RT = np.isin(tokens_RT, [*b"XYZ"]), np.isin(tokens_RT, [*b"abcd"])
    assert (upper_RT.any(1) ^ lower_RT.any(1)).all(), "a row is of one part"
    return upper_RT.any(1)


def test_rows_are_drawn_by_weight_and_each_part_comes_in_its_own_order(tmp_path, opening):
    task = Mixture({"lower": 1, "upper": 3}, parts(tmp_path)).open(opening)
    drawn = rows(task, 100)
    upper_R = is_upper(drawn)
    # 1,200 draws with probability 0.75: a standard deviation of 15
    assert abs(upper_R.sum() - 900) < 75
    for name, here_R in (("upper", upper_R), ("lower", ~upper_R)):
        alone = parts(tmp_path)[name].open(replace(opening, tokenizer=task.tokenizer))
        np.testing.assert_array_equal(drawn[here_R], alone.training_rows(np.arange(here_R.sum()))[0])


def test_a_weight_is_linear_between_its_steps(tmp_path, opening):
    weights = {"lower": [[0, 1], [1000, 0]], "upper": [[0, 0], [1000, 1], [1100, 1]]}
    task = Mixture(weights, parts(tmp_path)).open(opening)
    assert not is_upper(task.training_batch(0, 0, 1, 0, 1).tokens.numpy()).any()
    assert is_upper(task.training_batch(1050, 0, 1, 0, 1).tokens.numpy()).all()
    quarter = [is_upper(task.training_batch(step, 0, 1, 0, 1).tokens.numpy()).mean() for step in range(150, 350)]
    assert np.mean(quarter) == pytest.approx(0.25, abs=0.05)  # 2,400 draws: a standard deviation of 0.009


@pytest.mark.parametrize("step", [0, 1, 1023, 1024, 2500])
def test_a_step_is_a_function_of_its_number(tmp_path, opening, step):
    mixture = Mixture({"lower": 1, "upper": 1}, parts(tmp_path))
    after_others = mixture.open(opening)
    rows(after_others, 3)
    whole = mixture.open(opening).training_batch(step, 0, 1, 0, 1)
    torch.testing.assert_close(after_others.training_batch(step, 0, 1, 0, 1).tokens, whole.tokens)
    divided = [after_others.training_batch(step, rank, 2, micro, 3) for rank in range(2) for micro in range(3)]
    torch.testing.assert_close(torch.cat([part.targets for part in divided]), whole.targets)
    assert sum(part.share for part in divided) == pytest.approx(1)


def test_a_list_of_names_weights_by_tokens(tmp_path, opening):
    task = Mixture(["lower", "upper"], parts(tmp_path)).open(opening)
    lower, upper = (part.training_tokens() for part in task.parts.values())
    assert is_upper(rows(task, 100)).mean() == pytest.approx(upper / (lower + upper), abs=0.06)
    root = Mixture(["lower", "upper"], parts(tmp_path), temperature=2).open(opening)
    expected = upper**0.5 / (lower**0.5 + upper**0.5)
    assert is_upper(rows(root, 100)).mean() == pytest.approx(expected, abs=0.06) != upper / (lower + upper)
    warm = Mixture(["lower", "upper"], parts(tmp_path), temperature=1e6).open(opening)
    assert is_upper(rows(warm, 100)).mean() == pytest.approx(0.5, abs=0.07)


def test_every_part_is_scored_under_its_own_name(tmp_path, opening):
    task = Mixture({"lower": 1, "upper": 1}, parts(tmp_path)).open(opening)
    assert task.scored_splits == ("lower", "upper")
    assert task.measures().primary == "lower/bits_per_byte"
    for name in task.scored_splits:
        alone = parts(tmp_path)[name].open(replace(opening, tokenizer=task.tokenizer))
        scored = sum(int((batch.targets >= 0).sum()) for batch in task.batches(name))
        assert scored == alone.corpus.count("validation") == task.scored(name)


def test_one_tokenizer_is_fitted_to_all_parts_and_everything_is_found_without_the_texts(tmp_path, opening):
    opening = replace(opening, tokenizer=BPE(270))
    first = Mixture({"lower": 1, "upper": 1}, parts(tmp_path)).open(opening)
    merged = {piece for piece in first.tokenizer.types() if len(piece) > 1}
    assert any(set(piece) <= set(b"abcd ") for piece in merged) and any(set(piece) <= set(b"XYZ ") for piece in merged)
    again = Mixture({"lower": 1, "upper": 1}, parts(tmp_path))
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    found = again.open(replace(opening, prepared=Prepared(first.fingerprint, (opening.cache,))))
    assert found.fingerprint == first.fingerprint
    np.testing.assert_array_equal(rows(found, 3), rows(first, 3))


@pytest.mark.parametrize(
    ("weights", "temperature", "message"),
    [
        ({"lower": 1}, None, "at least two"),
        ({"lower": 1, "upper": -1}, None, "data.weights.upper=-1: expected a number of at least 0"),
        ({"lower": 0, "upper": 0}, None, "all are 0"),
        ({"lower": 1, "upper": [[5, 1], [5, 2]]}, None, "whole steps that increase"),
        ({"lower": 1, "upper": "much"}, None, "data.weights.upper=much: expected"),
        ({"lower": 1, "upper": 1}, 2.0, "data.temperature=2.0: is for a list of names"),
        (["lower", "upper"], 0.0, "data.temperature=0.0: expected a number above 0"),
    ],
)
def test_weights_that_mean_nothing_are_refused(tmp_path, weights, temperature, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace("[", r"\[")):
        Mixture(weights, parts(tmp_path), temperature)


def test_symbols_of_a_generated_task_cannot_be_mixed_with_text(tmp_path, opening):
    mixture = Mixture({"lower": 1, "parity": 1}, {"lower": parts(tmp_path)["lower"], "parity": Parity()})
    with pytest.raises(UserError, match="parity"):
        mixture.open(replace(opening, tokenizer=BPE(270)))
    with pytest.raises(UserError, match="parity is a generated task"):
        mixture.open(opening)


def test_parts_are_composed_with_their_options(compose):
    config = compose("data=mixture", "data.weights={wikitext2: 2, multi30k: 1}", "+data.parts.multi30k.target=fr")
    assert list(config["data"]["parts"]) == ["wikitext2", "multi30k"]
    assert config["data"]["parts"]["multi30k"]["target"] == "fr"
    assert config["data"]["parts"]["multi30k"]["source"] == "en"
    for words, message in (
        (["data.weights={wikitext: 1, multi30k: 1}"], "no data 'wikitext'.*wikitext2"),
        (["data.weights={text: 1, multi30k: 1}"], r"data\.parts\.text\.paths has no value: .* \+data\.parts\.text"),
        (["data.weights={translation: 1, multi30k: 1}"], r"data\.parts\.translation\.paths has no value"),
        (["data.weights={wikitext2: 1, multi30k: 1}", "+data.parts.multi.target=fr"], r"data\.parts\.multi.*multi30k"),
        (["data.weights={wikitext2: 1, mixture: 1}"], "a mixture cannot be part of a mixture"),
    ):
        with pytest.raises(UserError, match=message):
            compose("data=mixture", *words)


def test_a_data_set_may_be_twice_in_a_mixture_under_names_of_the_user(compose):
    words = ["data.weights={en_de: 1, en_fr: [[0, 0], [10, 1]]}", "+data.parts.en_de.data=multi30k"]
    other = ["+data.parts.en_fr={data: multi30k, target: fr}", "+data.parts.en_fr.template.input='<{source}>'"]
    parts = compose("data=mixture", *words, *other)["data"]["parts"]
    alone = compose("data=multi30k")["data"]
    assert parts["en_de"] == alone and list(parts) == ["en_de", "en_fr"]
    template = alone["template"] | {"input": "<{source}>"}
    assert parts["en_fr"] == alone | {"target": "fr", "template": template}
    for part, message in (
        ("{}", r"data\.weights\.en_de: there is no data 'en_de'.*needs \+data\.parts\.en_de\.data="),
        ("{data: multi30}", r"data\.parts\.en_de\.data=multi30: there is no data 'multi30' .*multi30k"),
        ("{data: mixture}", r"data\.parts\.en_de\.data=mixture: a mixture cannot be part"),
        ("{data: multi30k, decoding: {beams: 0}}", r"^data\.parts\.en_de\.decoding\.beams=0"),
        ("{data: hf, dataset: json, files: x, column: text, test: 2}", r"^data\.parts\.en_de\.test=2"),
    ):
        with pytest.raises(UserError, match=message):
            build_data(Experiment.of(compose("data=mixture", words[0], f"+data.parts.en_de={part}", *other)))


def test_a_data_set_outside_the_package_needs_only_texts_for_the_tokenizer(tmp_path, opening):
    class Lines(Text):
        text_fingerprint = Dataset.text_fingerprint

    own = parts(tmp_path)
    own["upper"].__class__ = Lines
    bpe = replace(opening, tokenizer=BPE(270))
    first = Mixture({"lower": 1, "upper": 1}, own).open(bpe)
    (tmp_path / "upper.txt").write_text((tmp_path / "upper.txt").read_text().replace("X", "W"))
    second = Mixture({"lower": 1, "upper": 1}, own).open(bpe)
    assert first.tokenizer.fingerprint() != second.tokenizer.fingerprint()


def test_errors_of_a_part_name_its_options_by_their_place_in_the_mixture(tmp_path, opening):
    own = parts(tmp_path)
    (tmp_path / "upper.txt").unlink()
    mixture = Mixture({"lower": 1, "upper": 1}, own)
    missing = f"data.parts.upper.paths: there is no {tmp_path}/upper.txt"
    for call in (mixture.checksum, lambda cache: mixture.open(opening)):
        with pytest.raises(UserError, match=f"^{missing}"):
            call(opening.cache)
    records = tmp_path / "data.paths.jsonl"
    records.write_text('{"text": "a b"}\n' * 50 + '{"text"\n')
    broken = Text([str(records)], documents="record")
    mixture = Mixture({"lower": 1, "records": 1}, {"lower": own["lower"], "records": broken})
    with pytest.raises(UserError) as error:
        mixture.open(opening)
    # The name of a file stays as it is.
    assert str(records) in str(error.value) and "or +data.parts.records.on_error=skip" in str(error.value)


def test_what_is_only_scored_needs_no_training_split(tmp_path, opening):
    files = {}
    for name, split in (("whole", "validation"), ("tested", "test")):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"q": f"{name} {number}", "a": "b"}) + "\n" for number in range(5)))
        files[name] = str(path) if name == "whole" else {split: str(path)}
    options = {"template": {"input": "{q}", "answer": "{a}"}, "metrics": ["exact_match"], "length": 4}
    own = {name: Records(name=name, licence="", paths=paths, **options) for name, paths in files.items()}
    task = Mixture([*own], own).open(replace(opening, trains=False, context=32))
    assert task.scored_splits == ("whole", "tested")
    assert {name: counts["examples"] for name, counts in task.describe()["splits"].items()} == {"whole": 5, "tested": 5}


def test_other_splits_of_a_part_have_its_name(tmp_path, opening):
    own = parts(tmp_path)
    task = Mixture({"lower": 1, "upper": 1}, own).open(opening)
    alone = own["upper"].open(replace(opening, tokenizer=task.tokenizer))
    test = task.for_evaluation("upper:test", None)
    assert test.scored("upper:test") == alone.for_evaluation("test", None).scored("test") > 0
    assert test.scored("upper") == alone.scored("validation")
    assert test.counts("upper:test") == alone.counts("test") != alone.counts("validation")
    with pytest.raises(UserError, match="split=uper: .*did you mean 'upper'"):
        task.for_evaluation("uper", None)
