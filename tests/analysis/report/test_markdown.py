"""Markdown, read back by another implementation of it."""

import itertools

from example_report import HOSTILE, LONG, example
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lmlab.analysis.report import markdown
from lmlab.analysis.report.cells import visible
from lmlab.analysis.report.document import Column as C
from lmlab.analysis.report.document import Document, Section, SideBySide, Table, Text


def _tokens(text):
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)


def _texts(tokens, kind):
    """What is written in the elements of a kind, as plain text."""
    found = []
    for token, content in itertools.pairwise(tokens):
        if token.type == kind and content.type == "inline":
            found.append("".join(child.content if child.type != "softbreak" else "\n" for child in content.children))
    return found


def test_the_report_is_read_back_as_it_was(tmp_path):
    document = example()
    markdown.write(document, tmp_path)
    text = (tmp_path / "report.md").read_text()
    tokens = _tokens(text)
    headings = _texts(tokens, "heading_open")
    assert headings[:2] == [document.title, "Doubts"]
    assert [h for h in headings if h in [s.title for s in document.sections]] == [s.title for s in document.sections]
    assert _texts(tokens, "list_item_open") == []  # the text of an item is a paragraph of its own
    assert {doubt.text for doubt in document.doubts} <= set(_texts(tokens, "paragraph_open"))
    first = _texts(tokens, "th_open")[:8]
    assert first == [
        "arm",
        "seeds",
        "validation loss (bits per byte)",
        "against transformer (Bonferroni-corrected)",
        "throughput (tokens/s)",
        "parameters (total)",
        "state (bytes per sequence)",
        "model FLOPs utilisation (%)",
    ]
    cells = _texts(tokens, "td_open")
    assert cells[8:12] == ["mamba2", "5", "1.455 [1.442, 1.468]", "−0.027 [−0.041, −0.013]"]
    assert len(cells) == 4 * 8 + 24 * 7
    fences = [token.content for token in tokens if token.type == "fence"]
    assert visible(HOSTILE) + "\n" in fences
    assert any(fence == LONG[:2000] + "\n" for fence in fences)
    assert "lmlab report runs=outputs/runs\n" in fences
    assert [fence.strip() for fence in fences][:1] == list(document.doubts[0].commands)
    images = [c.attrs["src"] for t in tokens if t.type == "inline" for c in t.children if c.type == "image"]
    assert images[:3] == ["figures/learning-curves.svg", "figures/scaling.svg", "figures/length.svg"]
    assert not [t for t in tokens if t.type == "html_block"]
    assert not [c for t in tokens if t.type == "inline" for c in t.children if c.type in ("html_inline", "link_open")]


@given(st.text(max_size=80))
def test_any_text_stands_for_itself(text):
    document = Document(
        "t",
        "c",
        [],
        [
            Section(
                "s",
                [
                    Text("x" + " ".join(visible(text).split("\n"))),
                    SideBySide({"h": text}),
                    Table("n", "t", [C("a"), C("b")], [["x" + text, 1]]),
                ],
            )
        ],
    )
    tokens = _tokens(markdown.text(document))
    expected = " ".join(("x" + visible(text)).split())
    assert _texts(tokens, "td_open")[0] == expected
    assert next(t for t in tokens if t.type == "fence").content == visible(text).replace("\r", "\n") + "\n"
    assert expected == " ".join(_texts(tokens, "paragraph_open")[2].split())
