import re
from xml.etree import ElementTree

import numpy as np
import pytest
from example_report import example

from lmlab.analysis.report import charts, figures
from lmlab.analysis.report.document import Axis, Chart, Document, Section, Series


def _chart(**changes):
    series = [
        Series("a", "a", {"tokens": [1e4, 1e6], "seconds": [1.0, 2.0]}, [2.0, 1.0], [1.9, 0.9], [2.1, 1.1]),
        Series("b $x$", "b", {"tokens": [1e4, 1e6], "seconds": [1.0, 3.0]}, [2.1, 1.01]),
    ]
    given = {
        "x": {"tokens": Axis("tokens", log=True), "seconds": Axis("time in s")},
        "y": Axis("loss"),
        "series": series,
    }
    return Chart("loss", "t", summary="s", **{**given, **changes})


def _styles(chart):
    return charts.styles(Document("t", "c", [], [Section("s", [chart])]))


def test_every_chart_is_a_file_of_each_kind_and_the_same_each_time(tmp_path):
    document = Document("t", "c", [], [Section("s", [_chart()])])
    endings = ["pdf", "svg", "png"]
    files = figures.write(document, tmp_path, endings)
    names = [f"{name}.{ending}" for name in ("loss", "loss-seconds") for ending in endings]
    assert [str(file.relative_to(tmp_path)) for file in files] == [f"figures/{name}" for name in names]
    before = [file.read_bytes() for file in files]
    figures.write(document, tmp_path, endings)
    assert [file.read_bytes() for file in files] == before
    assert before[0].startswith(b"%PDF") and before[2].startswith(b"\x89PNG")
    assert b"/Type3" not in before[0]  # publishers refuse these fonts
    width = float(re.match(r"([\d.]+)pt", ElementTree.fromstring(before[1]).attrib["width"])[1])
    assert width <= 5.6 * 72


def test_lines_bands_and_labels_are_those_of_the_chart():
    chart = _chart()
    axes = figures.draw(chart, "tokens", _styles(chart)).axes[0]
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1e4, 2.0], [1e6, 1.0]])
    assert axes.lines[0].get_color() == charts.style(0).line[0]
    band = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band} == {(1e4, 1.9), (1e4, 2.1), (1e6, 0.9), (1e6, 1.1)}
    labels = {text.get_text(): text for text in axes.texts}
    assert set(labels) == {"a", "b $x$"}
    assert labels["a"].xy == (1e6, 1.0)
    ends = [axes.transData.transform(text.xy)[1] * 72 / axes.figure.dpi for text in axes.texts]
    places = sorted(end + text.xyann[1] for end, text in zip(ends, axes.texts, strict=True))
    assert places[1] - places[0] >= 9 - 1e-6  # a line of text apart


def test_names_lie_on_nothing_else_where_lines_end_before_the_edge():
    ends = ([1.0, 2.0, 3.0], [1.0, 2.0])  # the second line ends where the first one goes on
    series = [Series(name, name, {"x": x}, [2.0] * len(x)) for name, x in zip("ab", ends, strict=True)]
    reference = Series("diagonal", charts.REFERENCE, {"x": [1.0, 3.0]}, [2.0, 1.0], kind="dashes")
    chart = _chart(x={"x": Axis("x (s)")}, series=[*series, reference])
    axes = figures.draw(chart, "x", _styles(chart)).axes[0]
    assert not axes.texts
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "diagonal"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x (s)", "loss")
    figure = axes.figure
    figure.draw_without_rendering()
    assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1, "it is above what is drawn"


@pytest.mark.parametrize("low, high", [(0.8, 1.0), (1.0, 3.0), (2.0, 50.0), (1e-4, 1.0), (1e3, 1e9)])
def test_a_logarithmic_axis_has_several_numbers(low, high):
    chart = _chart(x={"x": Axis("x", log=True)}, series=[Series("a", "a", {"x": [low, high]}, [1.0, 2.0])])
    axes = figures.draw(chart, "x", _styles(chart)).axes[0]
    axes.figure.draw_without_rendering()
    shown = [
        label.get_text()
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low * 0.999 <= place <= high * 1.001 and label.get_text()
    ]
    assert 2 <= len(shown) == len(set(shown)) <= 12


def test_an_axis_stays_linear_where_nothing_is_positive_and_gaps_are_gaps():
    series = [Series("a", "a", {"x": [0.0, -1.0]}, [float("nan"), -2.0], [0.0, -3.0], [1.0, -1.0])]
    chart = _chart(x={"x": Axis("x", log=True)}, y=Axis("y", log=True), series=series)
    axes = figures.draw(chart, "x", _styles(chart)).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [np.nan, -2.0])


def test_bars_stand_beside_each_other_with_their_intervals():
    series = [Series(arm, arm, {"task": ["p", "q"]}, [1.0, 2.0], [0.5, 1.5], [1.75, 2.5], "bars") for arm in ("a", "b")]
    chart = _chart(x={"task": Axis("task")}, series=series)
    axes = figures.draw(chart, "task", _styles(chart)).axes[0]
    edges = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches]
    np.testing.assert_allclose(edges, [(-0.4, 0, 1), (0.6, 1, 2), (0, 0.4, 1), (1, 1.4, 2)], atol=1e-12)
    segments = axes.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], [[0.5, 1.75], [1.5, 2.5]])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["p", "q"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_whole_example_is_drawn(tmp_path):
    files = figures.write(example(), tmp_path, ["pdf", "svg"])
    assert len(files) == 12
    assert all(file.stat().st_size > 5_000 for file in files)


def test_an_axis_that_ends_early_shows_what_is_below_it():
    chart = _chart(y=Axis("loss", top=1.5))
    axes = figures.draw(chart, "tokens", _styles(chart)).axes[0]
    low, high = axes.get_ylim()
    assert high == 1.5 and low == pytest.approx(0.9 - 0.05 * 0.6)
    assert {text.xy[1] for text in axes.texts} <= {1.0, 1.01, 1.5}
