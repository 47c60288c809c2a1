"""Answers that a model writes: the mean score of each, however rows are cut into batches."""

import numpy as np
import pytest
import torch

from lmlab.config.build import build
from lmlab.data.batch import Batch, nothing
from lmlab.data.judges import Decoded, MeanScore, TextsMetric
from lmlab.data.tokenizers import Symbols
from lmlab.metrics import Metric
from lmlab.models.decoding import Row
from lmlab.models.decoding_options import decoding_of
from lmlab.models.generation import decode

EXACT = Metric("exact_match", "exact match", "higher", "{:.1%}")
RIGHT = Metric("right", "right symbols", "higher", per_token=True)
VOCABULARY, CONTEXT, ROWS = 5, 12, 9


@pytest.fixture
def model(compose):
    config = compose("model=gru", "model.width=16", "model.depth=1", "data=parity")
    torch.manual_seed(3)
    return build(config["model"], vocabulary=VOCABULARY, context=CONTEXT).eval()


def rows() -> list[tuple[list[int], int, int]]:
    """Tokens of a sequence, the length of its question and that of its answer."""
    random = np.random.default_rng(0)
    lengths = [(int(random.integers(1, 6)), int(random.integers(1, 5))) for _ in range(ROWS)]
    return [(random.integers(0, VOCABULARY, CONTEXT).tolist(), *length) for length in lengths]


def continuation(model, tokens: list[int], length: int) -> list[int]:
    """Greedy tokens, each from all before it read from the beginning."""
    text = list(tokens)
    for _ in range(length):
        with torch.no_grad():
            hidden = model(torch.tensor([text]), None).hidden
            text.append(int(model.head.log_probs(hidden[:, -1]).argmax()))
    return text[len(tokens) :]


def batch(some, right) -> Batch:
    targets = torch.full((len(some), CONTEXT), -1)
    for row, ((_, question, answer), symbols) in enumerate(zip(some, right, strict=True)):
        targets[row, question - 1 : question - 1 + answer] = torch.tensor(symbols)
    return Batch(torch.tensor([tokens for tokens, _, _ in some]), targets)


@pytest.mark.parametrize("size", [1, 4, ROWS])
def test_every_answer_counts_once(model, size):
    some = rows()
    written = [continuation(model, tokens[:question], answer) for tokens, question, answer in some]
    right = [[*symbols] for symbols in written]
    for row in range(0, ROWS, 3):
        right[row][0] = (right[row][0] + 1) % VOCABULARY
    symbols = Symbols(VOCABULARY)
    metrics = [
        MeanScore(EXACT, lambda answer, expected: float(answer == expected)),
        MeanScore(
            RIGHT, lambda answer, expected: sum(a == b for a, b in zip(answer.split(), expected.split(), strict=True))
        ),
    ]
    judge = Decoded(symbols, metrics, CONTEXT)
    for first in range(0, ROWS, size):
        part = slice(first, first + size)
        judge.update(model, batch(some[part], right[part]))
    judge.update(model, nothing())
    expected = [sum(a == b for a, b in zip(one, two, strict=True)) for one, two in zip(written, right, strict=True)]
    values = judge.compute()
    assert values["exact_match"] == pytest.approx(6 / 9)
    assert values["right"] == pytest.approx(np.mean(expected))
    assert judge.cost(values) == -values["exact_match"]
    assert [metric.per_token for metric in judge.metrics] == [False, True]
    judge.reset()
    judge.update(model, batch(some[1:2], written[1:2]))
    assert judge.compute()["exact_match"] == 1


class Texts(TextsMetric):
    """The number of different texts; it keeps them."""

    metric = Metric("different", "different texts", "higher")
    signature = "texts"

    def value(self, texts):
        self.texts = sorted(texts)
        return float(len(set(texts)))


@pytest.mark.parametrize("size", [1, 4, ROWS])
def test_a_metric_of_all_texts_sees_each_once(model, size):
    some = rows()
    symbols, metric = Symbols(VOCABULARY), Texts()
    answers = [continuation(model, tokens[:question], answer) for tokens, question, answer in some]
    judge = Decoded(symbols, [metric], CONTEXT)
    for _ in range(2):
        for first in range(0, ROWS, size):
            judge.update(model, batch(some[first : first + size], answers[first : first + size]))
        judge.update(model, nothing())
        expected = [symbols.decode(np.array(answer)) for answer in answers]
        assert judge.compute() == {"different": len(set(expected))}
        assert metric.texts == sorted(expected)
        judge.reset()


def answers_of(model, settings, size: int) -> list[str]:
    some = rows()
    judge = Decoded(Symbols(VOCABULARY), [MeanScore(EXACT, lambda *_: 1.0)], CONTEXT, 4, settings)
    judge.keep_predictions()
    for first in range(0, ROWS, size):
        part = some[first : first + size]
        judge.update(model, batch(part, [tokens[question : question + answer] for tokens, question, answer in part]))
    return [prediction.answer for prediction in judge.predictions]


def test_a_sampled_answer_depends_on_its_prompt_and_the_seed_alone(model):
    settings = {"temperature": 2.0, "seed": 5}
    once = answers_of(model, settings, 1)
    assert answers_of(model, settings, 4) == once == answers_of(model, settings, ROWS)
    assert len(set(once)) > 1 and answers_of(model, settings | {"seed": 6}, 4) != once


@pytest.mark.parametrize("settings", [{"beams": 3}, {"repetition_penalty": 4.0}, {"beams": 2, "length_penalty": 2.0}])
def test_answers_are_those_of_the_decoder_with_the_same_settings(model, settings):
    symbols, decoding = Symbols(VOCABULARY), decoding_of(settings, 4)
    prompts = [Row(tokens[:question], stop=(symbols.separator,)) for tokens, question, _ in rows()]
    expected = [symbols.decode(np.array(each.text_tokens)) for each in decode(model, prompts, decoding, CONTEXT)]
    assert answers_of(model, settings, 4) == expected != answers_of(model, {}, 4)


def test_an_answer_ends_before_a_stop_string(model):
    plain = answers_of(model, {}, ROWS)
    sign = next(text.split()[1] for text in plain if len(text.split()) > 2)
    cut = answers_of(model, {"stop": [sign]}, ROWS)
    assert cut == [" ".join(text.partition(sign)[0].split()) for text in plain] != plain
