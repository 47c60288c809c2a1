from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.sample import evenly_sampled, size_of


@given(st.lists(st.text(min_size=1, max_size=20)), st.integers(1, 200))
def test_sample_is_every_second_fourth_or_further_text_and_within_the_limit(texts, most):
    sample = evenly_sampled(texts, most)
    steps = [step for step in (2**power for power in range(12)) if texts[::step] == sample]
    assert steps
    assert len(sample) <= 1 or sum(map(size_of, sample)) <= most
    if min(steps) > 1:  # no larger sample would be within the limit
        assert sum(map(size_of, texts[:: min(steps) // 2])) > most


def test_distinct_words_are_limited():
    texts = [f"the cat {number:03}\n" for number in range(1000)]
    assert evenly_sampled(texts, most_distinct=len("the cat\n") + 1000 * len(" 000")) == texts
    sample = evenly_sampled(texts, most_distinct=500)
    assert sample == texts[::16]
    assert 250 < len({word for text in sample for word in text.split()}) * len(" 000") <= 500


def test_size_is_in_bytes():
    assert [size_of(text) for text in ("", "abc", "naïve", "\U0001f600")] == [0, 3, 6, 4]
