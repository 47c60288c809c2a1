import itertools

import numpy as np
import pytest
from example_report import contrast_ratio, example, linear

from lmlab.analysis.report.charts import REFERENCE, style, styles
from lmlab.analysis.report.document import Axis, Chart, Document, Section, Series

GROUNDS = ("#ffffff", "#16181d")  # of page.css, light and dark

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009),
# severity 1.
VISION = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


def _lab(linear):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(
        linear, 0, 1
    )
    t = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_contrast_is_that_of_published_examples():
    assert contrast_ratio("#000000", "#ffffff") == pytest.approx(21)
    assert contrast_ratio("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)
    assert contrast_ratio("#ffffff", "#ff0000") == pytest.approx(4.0, abs=0.005)


@pytest.mark.parametrize("side", [0, 1])
def test_every_line_and_label_is_seen_on_both_grounds(side):
    for index in range(8):
        assert contrast_ratio(style(index).line[side], GROUNDS[side]) >= 3
        assert contrast_ratio(style(index).text[side], GROUNDS[side]) >= 4.5


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("side", [0, 1])
def test_seven_arms_differ_with_any_colour_vision(vision, side):
    seen = [_lab(np.array(VISION[vision]) @ linear(style(i).line[side])) for i in range(7)]
    for first, second in itertools.combinations(seen, 2):
        assert np.linalg.norm(first - second) > 10  # CIE76; 2.3 is just noticeable


def test_no_two_of_many_arms_look_the_same():
    looks = [(s.line, s.dash) for s in map(style, range(32))]
    assert len(set(looks)) == 32


def test_lines_of_no_arm_take_no_arm_s_look():
    series = [Series("diagonal", REFERENCE, {"x": [1.0]}, [1.0]), Series("lstm", "lstm", {"x": [1.0]}, [1.0])]
    found = styles(Document("t", "c", [], [Section("s", [Chart("n", "t", {"x": Axis("x")}, Axis("y"), series, "s")])]))
    assert found["lstm"] == style(0)
    assert found[REFERENCE].line not in [style(index).line for index in range(8)]


def test_an_arm_keeps_its_look_in_every_chart():
    found = styles(example())
    assert list(found)[:4] == ["lstm", "transformer", "mamba2", "griffin"]
    assert found["transformer"] == style(1)
