"""The HTML report in a real browser, opened from disk."""

import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from example_report import contrast_ratio, example

from lmlab.analysis.report import html

sys.path.append(str(Path(__file__).parents[2]))
from processes import wait_until

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to steer a browser with")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome is installed"),
]
WAIT = 120_000  # milliseconds: long enough for a machine that does other things too


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as steer:
        browser = steer.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"], timeout=WAIT)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    html.write(example(), path)
    return path


@pytest.fixture
def open_page(browser, file):
    """Opens the report; afterwards, nothing may have been complained of or asked for from elsewhere."""
    said, asked, pages = [], [], []

    def open_page(width=1280, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.title() == "Recurrent or attention at ten million parameters?"
        page.close()
    assert said == []
    assert {url for url in asked if not url.startswith(("blob:", "data:", "about:"))} == {file.as_uri()}


def drawn(page, name):
    drawing = page.locator(f"#{name} .drawing")
    drawing.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{name} .main-svg", state="attached")
    return drawing


def figure(page, name):
    """What plotly.js has drawn: the arrays of its traces, the types of its axes, and who is named in it."""
    return page.eval_on_selector(
        f"#{name} .drawing",
        """e => ({
            x: e.data.map(t => t.x), y: e.data.map(t => t.y),
            colours: e.data.map(t => t.line?.color ?? t.marker?.color),
            types: [e.layout.xaxis.type, e.layout.yaxis.type], title: e.layout.xaxis.title.text,
            names: e.data.map(t => t.name).filter(Boolean), labels: e.layout.annotations.slice(1).map(a => a.text),
        })""",
    )


def test_the_x_axis_of_all_charts_follows_one_switch_and_arms_are_hidden_everywhere(open_page):
    page = open_page()
    drawn(page, "scaling")
    drawn(page, "learning-curves")
    before = figure(page, "learning-curves")
    assert before["types"] == ["log", "linear"]
    assert sorted(before["names"]) == ["griffin", "lstm", "mamba2", "transformer"]
    assert before["labels"] == []  # griffin diverged: its line ends where a name would lie on others
    page.select_option("#learning-curves select", "flops")
    after = figure(page, "learning-curves")
    assert after["title"] == "training FLOPs"
    assert after["x"][1][0] == pytest.approx(before["x"][1][0] * 6e6)
    assert page.evaluate("document.activeElement.value") == "flops"  # the keyboard stays where it was
    page.select_option("#learning-curves select", "seconds")
    assert figure(page, "learning-curves")["types"] == ["linear", "linear"]
    assert figure(page, "scaling")["title"] == "training FLOPs"  # it has no other
    page.get_by_label("log y").first.check()
    assert figure(page, "learning-curves")["types"] == ["linear", "log"]
    page.locator("#learning-curves .arm", has_text="lstm").locator("input").uncheck()
    wait_until(lambda: "lstm" not in figure(page, "learning-curves")["names"], "it is drawn again, without the arm")
    page.locator("#learning-curves .arm", has_text="griffin").locator("input").uncheck()
    wait_until(
        lambda: sorted(figure(page, "learning-curves")["labels"]) == ["mamba2", "transformer"],
        "lines that end at the edge are named there",
    )
    page.locator("#learning-curves .arm", has_text="griffin").locator("input").check()
    assert not page.locator("#scaling .arm", has_text="lstm").locator("input").is_checked()
    drawn(page, "length")
    wait_until(lambda: len(figure(page, "length")["x"]) == 2, "it is drawn again, without the hidden arm")


def test_an_arm_has_one_colour_and_what_is_not_finite_is_a_gap(open_page):
    page = open_page()
    for name in ("length", "scaling", "learning-curves"):
        drawn(page, name)
    curves, bars = figure(page, "learning-curves"), figure(page, "length")
    assert bars["colours"][0] == curves["colours"][1] == "#0072b2"
    assert curves["y"][7][119] is not None
    assert set(curves["y"][7][120:]) == {None}
    assert len(curves["x"][6]) == 2 * 120 + 1  # griffin's band ends where its line does
    odd = page.locator("figure.chart").last.get_attribute("id")
    drawn(page, odd)
    assert [y for y in figure(page, odd)["y"] if len(y) == 3] == [[1, None, None], [2, 1.5, 1.2]]
    hover = page.eval_on_selector(f"#{odd} .drawing", "e => e.data.map(t => t.hovertext ?? []).flat().join('')")
    assert "<script" not in hover
    assert "<img" not in hover
    assert "&lt;/script&gt;" in hover


def test_tables_sort_by_value_with_intervals_and_gaps_last(open_page):
    page = open_page()

    def column(index, table="results-table"):
        cells = f"rows => rows.map(row => row.cells[{index}].textContent.trim())"
        return page.eval_on_selector_all(f"#{table} tbody tr", cells)

    heading = page.locator("#results-table th", has_text="validation loss")
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(0) == ["mamba2", "transformer", "lstm", "griffin"]
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(0) == ["lstm", "transformer", "mamba2", "griffin"]
    page.locator("#results-table th button", has_text="against transformer").click()
    assert column(0) == ["mamba2", "lstm", "griffin", "transformer"]  # infinity is a number, absence is not
    assert page.locator("#results-table [aria-sort]").count() == 1
    page.locator("#runs-table th button", has_text="learning rate").click()
    rates = column(3, "runs-table")
    assert rates == sorted(rates, key=lambda text: float(text.replace("−", "-")))


def test_runs_are_filtered_by_all_words(open_page):
    page = open_page()
    page.get_by_label("Filter").fill("MAMBA2 1e−04")
    shown = page.locator("#runs-table tbody tr:visible")
    assert shown.count() == 2
    assert page.locator("output").first.text_content() == "2 of 24 rows"
    page.get_by_label("Filter").fill("")
    assert shown.count() == 24


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme_follows_the_system_and_the_switch_and_stays_readable(open_page, scheme):
    page = open_page(scheme=scheme)
    drawn(page, "learning-curves")
    ground = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 29)"}
    other = {"light": "dark", "dark": "light"}[scheme]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground[scheme]
    _assert_contrast(page)
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground[other]
    assert page.locator("#theme").get_attribute("aria-pressed") == str(other == "dark").lower()
    _assert_contrast(page)
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground[other]
    page.evaluate("localStorage.clear()")


def _assert_contrast(page):
    """Every text, in charts those in sight, has a contrast of 4.5 on its ground (WCAG 2.2, 1.4.3)."""
    drawn(page, "learning-curves")
    in_this_theme = "e => e.layout.font.color === getComputedStyle(e).color"
    page.wait_for_function(f"({in_this_theme})(document.querySelector('#learning-curves .drawing'))")
    pairs = page.evaluate("""() => {
        const ground = e => {
            const colour = getComputedStyle(e).backgroundColor;
            return /, 0\\)$/.test(colour) ? ground(e.parentElement) : colour;
        };
        const pairs = {}, walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const e = walker.currentNode.parentElement;
            if (!walker.currentNode.textContent.trim() || !e.checkVisibility() || e.closest("script, .skip")) continue;
            const svg = e.closest("svg"), look = getComputedStyle(e), top = e.getBoundingClientRect().top;
            if (svg && (top < 0 || top > innerHeight)) continue;  // is drawn anew before it comes into sight
            const pair = svg ? [look.fill, ground(svg.closest(".drawing"))] : [look.color, ground(e)];
            pairs[pair.join("|")] = e.textContent.slice(0, 40);
        }
        return pairs;
    }""")
    assert len(pairs) > 5

    def colour(text):
        return "#" + "".join(f"{int(channel):02x}" for channel in re.findall(r"\d+", text)[:3])

    low = {text: pair for pair, text in pairs.items() if contrast_ratio(*map(colour, pair.split("|"))) < 4.5}
    assert low == {}


def test_everything_is_reached_by_keyboard_and_has_a_name(open_page):
    page = open_page()
    drawn(page, "learning-curves")
    page.evaluate("scrollTo(0, 0)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top >= 0")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "report"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Command", "of the first doubt"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('nav') !== null")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    unnamed = page.evaluate("""() => {
        const all = document.querySelectorAll("button, input, select, [role=img], [role=region], [tabindex='0']");
        const named = e => e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length
            || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim();
        return [...all].filter(e => !named(e)).map(e => e.outerHTML.slice(0, 80));
    }""")
    assert unnamed == []
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("thead th:not([scope=col]), tbody th:not([scope=row])").count() == 0
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    for landmark in ("header", "nav", "main", "footer"):
        assert page.locator(landmark).count() == 1
    assert page.locator("[onclick], [onerror], [onload], a[href^=javascript]").count() == 0


def test_numbers_of_a_chart_are_a_table_for_those_who_cannot_see_it(open_page):
    page = open_page()
    drawn(page, "length")
    assert page.locator("#length table").count() == 0
    page.locator("#length summary").click()
    page.wait_for_selector("#length table")
    rows = page.eval_on_selector_all("#length tbody tr", "rows => rows.map(r => [...r.cells].map(c => c.textContent))")
    assert len(rows) == 12
    assert rows[5] == ["transformer", "2×", "71", "69", "73"]
    assert "keeps its accuracy" in page.locator("#length [role=img]").get_attribute("aria-label")


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_page_never_scrolls_sideways(open_page, width):
    page = open_page(width)
    drawn(page, "learning-curves")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.querySelector('#learning-curves .main-svg').getBoundingClientRect().right") <= width
    first = page.locator(".doubts").bounding_box()
    assert width < 400 or first["y"] + first["height"] < 900  # title, conclusion and doubts are the first screen


def test_printing_shows_all_charts_on_white(open_page, tmp_path):
    page = open_page(scheme="dark")
    page.wait_for_function("typeof Plotly === 'object'")
    page.emulate_media(media="print")
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") >= 4
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".drawing:has(.main-svg)").count() == page.locator(".drawing").count() == 4
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert set(page.eval_on_selector_all(".main-svg", "all => all.map(s => s.clientWidth)")) == {640}
    assert page.locator(".scales:visible, .table > .tools:visible, nav:visible, .copy:visible").count() == 0
    assert page.locator("#length .arm:visible").all_text_contents() == ["lstm", "transformer", "mamba2"]  # as a legend
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.style.colorScheme") == ""


def test_hostile_texts_are_shown_as_they_are(open_page):
    page = open_page()
    sample = page.locator(".side pre").nth(1).text_content()
    assert sample.startswith('</script><script>document.title = "taken over"</script><img src=')
    assert "␀␛[31m ⟨U+202E⟩desrever⟨U+202C⟩ ⟨U+D800⟩" in sample
    long = page.locator(".side pre").nth(2)
    assert long.locator("summary").text_content() == "106,000 characters more"
    assert sum(map(len, long.locator("bdi").all_text_contents())) == 108_000
    assert page.locator("img, iframe, object, embed, link[rel=stylesheet]").count() == 0
