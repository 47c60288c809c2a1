import numpy as np
import pytest

from lmlab.data.synthetic import ModularArithmetic
from lmlab.errors import UserError


def written(symbols: list[int], modulus: int) -> str:
    return "".join(str(symbol) if symbol < modulus else "+-*()="[symbol - modulus] for symbol in symbols)


def value(symbols: list[int], modulus: int) -> int:
    """Python's own value of the expression."""
    return eval(written(symbols, modulus)) % modulus


@pytest.mark.parametrize("modulus", [2, 5, 9])
def test_running_answers_follow_from_the_beginning(solved, modulus):
    assert solved(ModularArithmetic(modulus), lambda prefix: value(prefix, modulus), 60) == 30 * 30


@pytest.mark.parametrize("brackets", [False, True])
@pytest.mark.parametrize("length", [2, 3, 7, 41, 150])
def test_last_answers_follow_from_the_beginning(solved, brackets, length):
    task = ModularArithmetic(brackets=brackets, answers="last")

    def answer(prefix: list[int]) -> int:
        assert prefix[-1] == task.end and task.end not in prefix[:-1]
        return value(prefix[:-1], 5)

    assert solved(task, answer, length, rows=60) == 60


def test_the_published_lengths():
    for brackets, lengths in ((False, range(1, 41, 2)), (True, range(1, 41))):
        task = ModularArithmetic(brackets=brackets, answers="last")
        _, targets = task.generate(np.random.default_rng(0), 8000, 41)
        counts = np.bincount(np.argmax(targets >= 0, axis=1))
        assert np.flatnonzero(counts).tolist() == list(lengths)
        assert counts[counts > 0] / 8000 == pytest.approx(np.full(len(lengths), 1 / len(lengths)), abs=0.012)


def test_expressions_with_brackets_are_those_of_the_grammar():
    """Every expression of up to four symbols, and all cuts of one of seven."""
    inputs, targets = ModularArithmetic(2, brackets=True, answers="last").generate(np.random.default_rng(0), 20_000, 8)
    sizes = np.argmax(targets >= 0, axis=1)
    found = {written(row[:size].tolist(), 2) for row, size in zip(inputs, sizes, strict=True)}
    terms = {1: ["0", "1"], 2: ["-0", "-1"], 3: ["(0)", "(1)"]}
    short = {term for group in terms.values() for term in group} | {"(-0)", "(-1)"}
    assert {text for text in found if len(text) < 5} == short
    seven = {f"({a}{o}{b})" for left in (1, 2, 3) for a in terms[left] for o in "+-*" for b in terms[4 - left]}
    assert {text for text in found if len(text) == 7} == seven


def test_brackets_have_no_running_answer():
    with pytest.raises(UserError, match=r"data\.answers=every: .* expected last"):
        ModularArithmetic(brackets=True)
    with pytest.raises(UserError, match=r"data\.modulus=1: expected at least 2"):
        ModularArithmetic(1)
