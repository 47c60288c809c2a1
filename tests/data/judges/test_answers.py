"""Metrics of answers against the libraries that define them, and slow restatements of their rules."""

import itertools
import random
import re
import string
from collections import Counter

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from torchmetrics.text import SQuAD

from lmlab.data.examples.metrics import METRICS, answer_metrics
from lmlab.data.judges.answers import AnswerMetric, TextsMetric

WORDS = ["The", "cat", "sat", "on", "an", "Äpfel", "birds'", "running", "run", "U.S.", "3,5", "a", "-", "?!"]


def texts(number: int, seed: int, most: int = 9) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, most))) for _ in range(number)]


ANSWERS = ["", "the", "A cat.", "the cat sat", "cat", *texts(40, 1)]
REFERENCES = [("",), ("a",), ("the cat!", "dog"), ("sat cat the",), ("cat cat", "", "Cat"), *(
    tuple(texts(1 + number % 3, 100 + number)) for number in range(40)
)]  # fmt: skip


def value(name: str, answers=ANSWERS, references=REFERENCES) -> float:
    (metric,) = answer_metrics([name])
    assert isinstance(metric, AnswerMetric)
    return metric.value(sum(metric.statistics(*pair) for pair in zip(answers, references, strict=True)))


def test_exact_match_and_f1_are_those_of_torchmetrics():
    judge = SQuAD()
    for number, (answer, references) in enumerate(zip(ANSWERS, REFERENCES, strict=True)):
        target = {"answers": {"text": list(references), "answer_start": [0] * len(references)}, "id": str(number)}
        judge.update([{"prediction_text": answer, "id": str(number)}], [target])
    expected = judge.compute()
    assert value("exact_match") == pytest.approx(float(expected["exact_match"]), abs=1e-4)
    assert value("f1") == pytest.approx(float(expected["f1"]), abs=1e-4)


def slow_words(text: str) -> list[str]:
    kept = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def test_exact_match_and_f1_follow_the_published_rules():
    exact, f1 = answer_metrics(["exact_match", "f1"])
    for answer, references in zip(ANSWERS, REFERENCES, strict=True):
        scores = []
        for reference in references:
            first, second = slow_words(answer), slow_words(reference)
            common = sum((Counter(first) & Counter(second)).values())
            if not first or not second:
                scores.append(float(first == second))
            elif common == 0:
                scores.append(0.0)
            else:
                precision, recall = common / len(first), common / len(second)
                scores.append(2 * precision * recall / (precision + recall))
        assert f1.of_one(answer, references) == pytest.approx(100 * max(scores))
        assert exact.of_one(answer, references) == 100 * any(slow_words(answer) == slow_words(r) for r in references)


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_that_of_its_library_with_the_best_reference(name):
    scorer = RougeScorer([name], use_stemmer=True)
    expected = [
        scorer.score_multi(list(references), answer)[name].fmeasure
        for answer, references in zip(ANSWERS, REFERENCES, strict=True)
    ]
    assert value(name) == pytest.approx(100 * np.mean(expected))
    (metric,) = answer_metrics([name])
    assert metric.of_one("running", ["run"]) == (0 if name == "rouge2" else 100)
    assert "Porter stemmer" in metric.signature


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_sums_of_statistics_give_the_scores_of_sacrebleu_to_the_digit(name, references):
    answers = ["", *texts(50, 1, most=20)]
    right = [texts(51, 10 + number, most=20) for number in range(references)]
    library = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[name]
    assert value(name, answers, list(zip(*right, strict=True))) == library(answers, right).score
    assert value(name, [""] * 51, list(zip(*right, strict=True))) == library([""] * 51, right).score
    assert value(name, right[0], list(zip(*right, strict=True))) == pytest.approx(100, abs=1)


def test_signatures_name_the_library_and_its_version():
    bleu, chrf = answer_metrics(["bleu", "chrf"])
    assert bleu.signature == f"sacreBLEU nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert chrf.signature.startswith("sacreBLEU nrefs:var|case:mixed|eff:yes|nc:6|nw:0|")


def test_every_metric_has_a_signature_its_own_name_and_a_value_of_nothing():
    for name in METRICS:
        (metric,) = answer_metrics([name])
        assert metric.signature and (metric.metric.name == name or name == "verified")
        if isinstance(metric, AnswerMetric):
            assert np.isnan(metric.value(np.zeros_like(metric.statistics("a", ["b"]))))


GENERATED = ["a b a b", "a b c", "", "d", "a b a b"]


@pytest.mark.parametrize("order", [1, 2])
def test_distinct_counts_different_ngrams_of_all_texts(order):
    (metric,) = answer_metrics([f"distinct{order}"])
    assert isinstance(metric, TextsMetric)
    grams = [tuple(t.split()[i : i + order]) for t in GENERATED for i in range(len(t.split()) - order + 1)]
    for texts in itertools.islice(itertools.permutations(GENERATED), 5):
        assert metric.value(texts) == pytest.approx(100 * len(set(grams)) / len(grams))
    assert metric.value([""]) == 0


def test_repetition_is_the_share_of_repeated_4_grams():
    (metric,) = answer_metrics(["repetition"])
    assert metric.of_one("a b c d e", [""]) == 0
    assert metric.of_one("a b c", [""]) == 0
    assert metric.of_one("x x x x x x", [""]) == pytest.approx(100 * 2 / 3)
    assert value("repetition", ["x x x x x x", "a b c d"], [("",)] * 2) == pytest.approx(100 / 3)


def test_self_bleu_is_the_mean_over_texts():
    (metric,) = answer_metrics(["self_bleu"])
    some = texts(12, 5, most=12)
    bleu = sacrebleu.BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, some[:n] + some[n + 1 :]).score for n, text in enumerate(some)]
    assert metric.value(some) == pytest.approx(np.mean(scores)) == metric.value(some[::-1])
    assert metric.value(["a b c d e"] * 3) == pytest.approx(100)
    assert np.isnan(metric.value(["a"]))


@pytest.mark.parametrize(
    ("answer", "right"), [("menu", True), ('"Menu," he said', True), ("the menu", False), ("menus", False), ("", False)]
)
def test_the_last_word_is_the_first_of_the_answer(answer, right):
    (metric,) = answer_metrics(["last_word"])
    assert metric.of_one(answer, ["menu"]) == 100 * right
