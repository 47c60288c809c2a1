import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from example_report import HOSTILE, example

from lmlab.analysis.report import charts, html
from lmlab.analysis.report.document import Axis, Chart, Document, Section, Series, Text

INF, NAN = float("inf"), float("nan")
SERIES = Series("a", "a", {"x": [1, 2]}, [0.123456789, NAN], [INF, 1], [1, 2], details=["\x00", "b"])


def _report(*parts):
    return Document("t", "c", [], [Section("s", parts)])


class _Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._in = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append((dict(attributes), ""))
            self._in = True

    def handle_endtag(self, tag):
        self._in = self._in and tag != "script"

    def handle_data(self, data):
        if self._in:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)


def test_the_policy_allows_these_scripts_and_no_request():
    page = _Reader(html.page(example()))
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    run = [text for attributes, text in page.scripts if "type" not in attributes]
    packed = next(text for attributes, text in page.scripts if attributes.get("id") == "plotly")
    run.insert(0, gzip.decompress(base64.b64decode(packed)).decode())
    hashes = ["'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in run]
    assert rules["script-src"].split() == hashes
    assert [tag for tag, a in page.tags if "src" in a] == []
    assert {a["href"][0] for _, a in page.tags if "href" in a} <= {"#", "d"}  # places in the page, and the empty icon
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert "style" not in {name for _, a in page.tags for name in a}


def test_a_report_is_as_large_as_what_it_shows():
    chart = Chart("n", "t", {"x": Axis("x")}, Axis("y"), [SERIES], "s")
    small, large = len(html.page(_report(Text("x")))), len(html.page(_report(chart)))
    assert small < 50_000
    assert small + 1_500_000 < large < small + 2_200_000


def test_writing_twice_gives_the_same_file(tmp_path):
    html.write(example(), tmp_path / "a" / "report.html")
    html.write(example(), tmp_path / "b.html")
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_json_cannot_end_its_element_and_is_the_same_json():
    value = {HOSTILE.replace("\ud800", ""): ["</script>", "<!--", "]]>", "\u2028", 1.5, None]}
    text = html.embedded(value)
    assert not re.search("[<>&\u2028\x00-\x1f]", text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        html.embedded([NAN])


def test_a_chart_becomes_plain_data():
    chart = Chart("n", "t", {"x": Axis("tokens", log=True)}, Axis("loss"), [SERIES], "s")
    (series,) = charts.as_json(chart, {"a": charts.style(0)})["series"]
    assert series["y"] == [0.1234568, None]
    assert series["low"] == [None, 1]
    assert series["x"] == {"x": [1, 2]}
    assert series["details"] == ["␀", "b"]
    short = Chart("n", "t", {"x": Axis("x")}, Axis("y"), [Series("b", "a", {"x": [1]}, [1.0, 2.0])], "s")
    with pytest.raises(ValueError, match="series 'b': 1 values of x for 2 of y"):
        charts.as_json(short, {"a": charts.style(0)})
