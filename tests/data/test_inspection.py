"""Facts about documents: lengths, duplicates, and evenly spaced samples, however the text is cut into chunks."""

from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.inspection import SHOWN, inspect_documents

TEXTS = st.lists(st.text(max_size=30), max_size=20)


@given(TEXTS, st.integers(1, 5), st.integers(0, 4))
def test_facts_are_those_of_the_whole_texts(texts, size, samples):
    read = []

    def chunks():
        return ([text[first : first + size] for first in range(0, len(text), size)] for text in texts)

    facts = inspect_documents(chunks, samples, read.append)
    assert facts.lengths.tolist() == [len(text) for text in texts]
    assert facts.size == sum(len(text.encode()) for text in texts) == sum(read)
    assert facts.duplicates == len(texts) - len(set(texts))
    assert len(facts.samples) == min(samples, len(texts)) and set(facts.samples) <= set(texts)


@given(TEXTS, TEXTS)
def test_documents_in_common(some, others):
    first, second = (inspect_documents(lambda texts=texts: ([text] for text in texts)) for texts in (some, others))
    assert first.in_common(second) == len(set(some) & set(others))


def test_samples_are_evenly_spaced_and_cut():
    texts = [str(number) * (SHOWN + 1 if number == 5 else 1) for number in range(100)]
    facts = inspect_documents(lambda: ([text, ""] for text in texts), 10)
    assert facts.samples == [f"{texts[5][:SHOWN]} ...", *(str(number) for number in range(15, 100, 10))]
