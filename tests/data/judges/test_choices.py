"""The most likely of several choices, by their log-probability after the prompt."""

import itertools

import numpy as np
import pytest
import torch

from lmlab.config.build import build
from lmlab.data.batch import Batch, nothing
from lmlab.data.judges.choices import Choice, Choices
from lmlab.data.tokenizers import Byte

CONTEXT = 40
PROMPTS = ["one\n", "a much longer prompt\n", "2?\n", "the last"]
CHOICES = [("yes", "no"), ("b", "bb", "bbbbbbb"), ("no", "yes", "maybe", "né"), ("x y", "z")]


@pytest.fixture
def model(compose):
    config = compose("model=gru", "model.width=16", "model.depth=1", "data=stdlib", "tokenizer=byte")
    torch.manual_seed(3)
    return build(config["model"], vocabulary=Byte().size, context=CONTEXT).eval()


def log_prob(model, prompt: list[int], text: list[int]) -> float:
    """The sum of the log-probabilities of a text, token by token."""
    with torch.no_grad():
        hidden = model(torch.tensor([[*prompt, *text]]), None).hidden
        log_probs = model.head.log_probs(hidden[0])
    return sum(float(log_probs[len(prompt) - 1 + place, token]) for place, token in enumerate(text))


def batch(numbers, before: str) -> Batch:
    byte = Byte()
    tokens, targets = np.zeros((len(numbers), CONTEXT), np.int64), np.full((len(numbers), CONTEXT), -1)
    for row, number in enumerate(numbers):
        prompt = [byte.separator, *byte.encode(PROMPTS[number])]
        answer = [*byte.encode(before + CHOICES[number][0]), byte.separator]
        tokens[row, : len(prompt) + len(answer) - 1] = [*prompt, *answer][:-1]
        targets[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = answer
    references = tuple(CHOICES[number] for number in numbers)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), references=references)


@pytest.mark.parametrize(("continues", "size"), [*itertools.product([False, True], [1, 3])])
def test_choices_are_compared_by_their_log_probability_after_the_prompt(model, continues, size):
    before, byte = " " if continues else "", Byte()
    judge = Choices(byte, CONTEXT, continues)
    judge.keep_predictions()
    for first in range(0, len(PROMPTS), size):
        judge.update(model, batch(range(first, min(first + size, len(PROMPTS))), before))
    judge.update(model, nothing())
    right = {"acc": [], "acc_norm": []}
    for number, (prompt, choices) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        start = [byte.separator, *byte.encode(prompt).tolist()]
        values = np.array([log_prob(model, start, byte.encode(before + choice).tolist()) for choice in choices])
        kept = judge.predictions[number]
        assert (kept.prompt, kept.choices) == (prompt, choices)
        assert kept.log_probs == pytest.approx(values.tolist(), abs=1e-4)
        assert kept.references == choices[:1] and kept.answer == choices[int(values.argmax())]
        right["acc"].append(values.argmax() == 0)
        right["acc_norm"].append((values / [len(choice.encode()) for choice in choices]).argmax() == 0)
    assert judge.compute() == {name: pytest.approx(100 * np.mean(each)) for name, each in right.items()}
    judge.reset()
    assert np.isnan(list(judge.compute().values())).all() and judge.predictions == []


def test_equal_choices_share_the_point():
    assert Choice("", ("a", "b", "c"), (-1.0, -1.0, -2.0)).scores["acc"] == 50
    assert Choice("", ("a", "b", "c"), (-1.0, -0.5, -2.0)).scores["acc"] == 0
    assert Choice("", ("a", "bb"), (-1.0, -1.5)).scores == {"acc": 100, "acc_norm": 0}


def test_the_record_of_a_prediction_has_all_choices():
    choice = Choice("", ("a", "né"), (-1.0, -1.5))
    assert Choices(Byte(), CONTEXT).facts(choice) == {
        "choices": ["a", "né"],
        "log_probabilities": [-1.0, -1.5],
        "log_probabilities_per_byte": [-1.0, -0.5],
    }
