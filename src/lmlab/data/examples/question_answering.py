"""Questions about a paragraph, in the format of SQuAD."""

import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from lmlab.data.corpora.records import Malformed, Record, SourceFile, not_json
from lmlab.data.examples.sources import FromFiles
from lmlab.errors import UserError

_BETWEEN = re.compile(r"(?<=[.!?])\s+|\n")
"""White space between two sentences."""


class QuestionAnswering(FromFiles):
    """Questions whose answers are in a paragraph: JSON in the format of SQuAD 1.1 or 2.0 (Rajpurkar et al. 2016, 2018).

    Records with the fields of a question and its paragraph are read as well; ``answers`` is then a list of texts, or
    has one, ``text``, as in the data set of the Hugging Face hub.

    The fields are ``title``, ``context``, ``question``, ``id`` and ``answers``, the right answers; for a question that
    has none (``is_impossible``) that is the empty text. ``sentence`` is the sentence of the context that holds the
    first answer, or the context if none does: an easier task for small models.
    """

    empty_answers = True

    documents = None

    def read(self, files: tuple[SourceFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        (file,) = files
        if file.reader is not None:
            for place, record in file.records():
                yield place, record if isinstance(record, Malformed) else _record(record, record, record)
            return
        try:
            content = json.loads(file.text())
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file.path}: {not_json(error)}") from error
        articles = content.get("data") if isinstance(content, dict) else None
        if not isinstance(articles, list):
            raise UserError(f"{file.path}: expected the format of SQuAD, an object with a list data")
        for number, article in enumerate(articles):
            where = f"data[{number}]"
            for paragraph_number, paragraph in enumerate(_list(article, "paragraphs")):
                place = f"{where}.paragraphs[{paragraph_number}]"
                if isinstance(paragraph, Malformed):
                    yield where, paragraph
                    continue
                for question_number, question in enumerate(_list(paragraph, "qas")):
                    if isinstance(question, Malformed):
                        yield place, question
                        continue
                    yield f"{place}.qas[{question_number}]", _record(article, paragraph, question)


def _sentence(context: str, answer: str, place: int) -> str:
    """Return the sentence of a context, or the few, that holds an answer at a place; the context if none does."""
    if not answer or place < 0 or context[place : place + len(answer)] != answer:
        return context
    begin = max((match.end() for match in _BETWEEN.finditer(context) if match.end() <= place), default=0)
    last = place + len(answer.rstrip(".!?"))
    end = next((match.start() for match in _BETWEEN.finditer(context, last)), len(context))
    return context[begin:end].strip()


def _list(section: Any, key: str) -> list[Any]:
    """Return the list of a section, or a list of what is wrong with it."""
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, list) else [Malformed(f"expected an object with a list {key}")]


def _record(article: dict[str, Any], paragraph: dict[str, Any], question: Any) -> Record | Malformed:
    if not isinstance(question, dict) or not isinstance(question.get("question"), str):
        return Malformed("no question")
    if not isinstance(context := paragraph.get("context"), str):
        return Malformed("its paragraph has no context")
    answers = question.get("answers")
    if question.get("is_impossible") or (isinstance(answers, dict) and not answers.get("text")):
        answers = []
    elif isinstance(answers, dict) and all(isinstance(column, list) for column in answers.values()):
        starts = answers.get("answer_start") or ()
        answers = [{"text": text, "answer_start": start} for text, start in zip_longest(answers["text"], starts)]
    elif not isinstance(answers, list) or not answers:
        return Malformed("no answers")
    answers = [{"text": answer} if isinstance(answer, str) else answer for answer in answers]
    texts = [answer.get("text") if isinstance(answer, dict) else None for answer in answers or [{"text": ""}]]
    if not all(isinstance(text, str) for text in texts):
        return Malformed("an answer without a text")
    first = str(texts[0])
    place = answers[0].get("answer_start") if answers else None
    return {
        "title": str(article.get("title", "")).replace("_", " "),
        "context": context,
        "sentence": _sentence(context, first, place if isinstance(place, int) else context.find(first)),
        "question": question["question"].strip(),
        "id": str(question.get("id", "")),
        "answers": texts,
    }
