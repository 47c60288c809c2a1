import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.cleaning.scrub import SCRUBBERS


def scrubbed(chunks: list[str], *names: str) -> tuple[str, int]:
    count = [0]

    def add() -> None:
        count[0] += 1

    text = iter(chunks)
    for name in names or SCRUBBERS:
        text = SCRUBBERS[name].scrub(text, add)
    return "".join(text), count[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("email", text)
            for text in ("bob@example.com", "a.b+c@x-y.co.uk", "jörg@münchen.de", "o'neill_1@web.museum")
        ),
        *(
            ("ip", text)
            for text in ("8.8.8.8", "93.184.216.34", "2001:4860:4860::8888", "2a00:1450:4001:82a:0:0:0:200e")
        ),
        *(("phone", text) for text in ("+49 30 901820", "+4930901820", "+1 (555) 123-4567", "+1.555.123.4567")),
        *(("phone", text) for text in ("555-123-4567", "(555) 123-4567", "1-800-555-0199", "555.234.5678")),
    ],
)
def test_is_replaced_within_a_sentence(name, text):
    for form in ("{}", "Ask {}.", "<{}>,", "line\n{}\n", "({});"):
        expected = form.format(SCRUBBERS[name].placeholder)
        assert scrubbed([form.format(text)], name) == (expected, 1)


@pytest.mark.parametrize(
    "text",
    [
        # mentions, code, and what only looks like an address
        *("@user said", "foo@bar", "@media (x)", "x@1.2", "a @ b.com", "matrix @ vector"),
        # private, reserved or invalid addresses, versions, times, code
        *("10.0.0.1", "127.0.0.1", "192.168.1.1", "256.1.1.1", "1.2.3.4.5", "v1.2.3.4", "version 1.2.3.4"),
        *("2024.01.02.03", "2001:db8::1", "std::vector", "dead::beef", "12:34:56", "2300:10:20"),
        # dates, decimals, versions, numbers of books, cards and pages
        *("2024-01-15", "15.01.2024", "01/15/2024", "2023-10-15T12:00:00", "12:30-14:00", "1999-2004"),
        *("3.14159265358979", "+3.14159265", "-1.5", "1,234,567.89", "1 000 000 000", "123456789012", "+12345678"),
        *("1.2.3", "10.0.19041.1", "123-45-6789", "978-0-306-40615-7", "4111-1111-1111-1111", "pp. 123-145"),
        *("arXiv:1234.56789", "2001.2002.2003", "100.200.3000", "0.123-456-7890", "555 123 4567"),
    ],
)
def test_other_texts_stay(text):
    assert scrubbed([text]) == (text, 0)
    assert scrubbed([f"As of {text}, see above."]) == (f"As of {text}, see above.", 0)


PARTS = [
    "bob@example.com",
    "8.8.8.8",
    "10.0.0.1",
    "+49 30 901820",
    "555-123-4567",
    "+3.14159265",
    "@",
    ".",
    " ",
    "a",
    "1",
]
texts = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


@given(text=texts, width=st.integers(1, 40))
def test_chunks_do_not_matter(text, width):
    chunks = [text[first : first + width] for first in range(0, len(text), width)]
    assert scrubbed(chunks) == scrubbed([text])


def test_chunks_do_not_matter_in_a_long_text():
    """Longer than what is looked at behind a chunk, with long runs of characters of addresses."""
    text = ("x" * 700 + "@" + "y" * 30 + ".com 8.8.8.8 +49 30 901820 " + "1-" * 600 + " a@b.de\n") * 3
    expected = scrubbed([text])
    assert expected[1] == 9
    for width in (37, 100, 1000, 1023, 1024, 1025, 1500):
        assert scrubbed([text[first : first + width] for first in range(0, len(text), width)]) == expected


def test_placeholders_are_not_replaced_again():
    once, number = scrubbed(["bob@example.com 8.8.8.8 555-123-4567"])
    assert once == "<email> <ip> <phone>" and number == 3
    assert scrubbed([once]) == (once, 0)
