"""The page, in a real browser."""

import re
import shutil

import pytest
from dashboards import HOSTILE, WORDS
from processes import wait_until
from synthetic_runs import write_run

from lmlab.runs.files import write_json
from lmlab.sweeps.sweep import Job, Sweep

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the path")]

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open an address without any internet, in a window of a size; errors of the page's scripts fail the test."""
    errors, contexts = [], []

    def open_page(url, viewport=DESKTOP, **more):
        context = browser.new_context(viewport=viewport, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.route("**", lambda route: route.continue_() if route.request.url.startswith(url) else route.abort())
        page.on("requestfailed", lambda request: errors.append(f"failed: {request.url}"))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        page.wait_for_selector("tr[data-run]")
        return page

    yield open_page
    found = [*errors]  # before what closing a window breaks off
    for context in contexts:
        context.close()
    assert not [error for error in found if "400 (Bad Request)" not in error], found


def lines(page):
    """The points of every line that is drawn."""
    return page.evaluate("(document.getElementById('chart').data || []).map((trace) => [trace.name, trace.y.length])")


def until(page, condition):
    """Wait for an expression to be true; Playwright's own way to is one that the page's policy forbids."""
    wait_until(lambda: page.evaluate(condition), condition, 120)


def lines_until(page, condition):
    until(page, f"(document.getElementById('chart').data || []) && ({condition})")


def test_runs_their_status_and_curves_are_shown_and_grow(outputs, growing, serve, visit):
    growing.grow(50)
    page = visit(serve(outputs))
    lines_until(page, "chart.data.length == 5")
    assert [re.sub(r" \(\w+\)$", "", name) for name, _ in lines(page)] == [
        "gru, seed 1", "lstm, seed 1", "lstm, seed 2", "rnn, seed 1", "transformer, seed 1"
    ]  # fmt: skip
    row = page.locator(f"tr[data-run='{growing.run.path.name}']")
    assert "running" in row.inner_text() and "12 s" in row.inner_text() and "1.0200" in row.inner_text()
    assert row.locator("progress").get_attribute("value") == "0.05"
    growing.grow(250)
    lines_until(page, "chart.data.some((trace) => trace.y.length == 300)")
    until(page, "document.querySelector('#runs').innerText.includes('1.0033')")
    page.select_option("#metric", "train/loss")
    lines_until(page, "chart.data.length == 4 && chart.data.every((trace) => trace.y.length > 30)")
    page.select_option("#axis", "flops")
    lines_until(page, "chart.layout.xaxis.title.text == 'training operations (FLOPs)'")
    page.select_option("#lines", "arms")
    lines_until(page, "chart.data.some((trace) => trace.name == 'lstm (n = 2)')")


def test_runs_of_one_arm_are_is_significant_and_a_point_says_where_it_is(outputs, serve, visit):
    page = visit(serve(outputs))
    lines_until(page, "chart.data.length == 4")
    looks = page.evaluate("chart.data.map((trace) => [trace.line.color, trace.line.dash])")
    assert looks[1][0] == looks[2][0] and looks[1][1] != looks[2][1], "an arm has a colour, a run a dash"
    assert len({tuple(look) for look in looks}) == 4
    place = """() => {
        const box = chart.getBoundingClientRect(), {xaxis, yaxis} = chart._fullLayout, {x, y} = chart.data[2];
        return [box.x + xaxis._offset + xaxis.d2p(x[1]), box.y + yaxis._offset + yaxis.d2p(y[1])];
    }"""
    page.mouse.move(*page.evaluate(place))
    until(page, "document.querySelector('.hoverlayer').textContent.includes('seed')")
    said = page.evaluate("document.querySelector('.hoverlayer').textContent")
    points = page.evaluate("chart.data.map((trace) => [trace.name, trace.customdata[1], trace.y[1]])")
    assert any(  # another run's point may lie on the same pixel
        f"{run}, seed {seed}step {step:,}validation/bits_per_byte: {value:.5g}" in said
        for name, step, value in points
        for seed, run in re.findall(r"seed (\d+) \((\w+)\)", name)
    ), said
    page.select_option("#lines", "both")
    lines_until(page, "chart.data.filter((trace) => trace.fill == 'tonexty').length == 1 && chart.data.length == 6")


def test_the_mean_of_an_arm_is_that_of_its_runs(outputs, serve, visit):
    page = visit(serve(outputs))
    found = page.evaluate(
        """async () => (await import('./page/chart.js')).summary(
            [{x: [0, 2, 4], y: [0, 2, 0]}, {x: [1, 3], y: [4, 8]}])"""
    )
    import numpy as np

    x = np.linspace(1, 3, 200)
    first, second = np.interp(x, [0, 2, 4], [0, 2, 0]), np.interp(x, [1, 3], [4, 8])
    np.testing.assert_allclose(found["x"], x)
    np.testing.assert_allclose(found["mean"], (first + second) / 2)
    np.testing.assert_allclose(found["low"], np.minimum(first, second))
    np.testing.assert_allclose(found["high"], np.maximum(first, second))


def test_names_are_text_wherever_they_are_shown(outputs, serve, visit):
    run = write_run(outputs / "runs", "model=lstm", *WORDS, seed=9, status="failed", sweep=HOSTILE, name=HOSTILE)
    write_json(run.error, {"kind": "E", "message": HOSTILE, "traceback": HOSTILE})
    run.update(choices={"model": HOSTILE}, attempts=[{"started": "t", "host": HOSTILE, "error": HOSTILE}])
    run.samples.write_text('{"step": 1, "tokens": 1, "text": "<script>window.harmed=1</script>"}\n')
    run.path.rename(run.path.with_name("<b>'\"&x"))
    sweep = Sweep(outputs / "sweeps" / "<i>'\"&")
    sweep.begin(["-m", HOSTILE], {}, {})
    sweep.write([Job(0, [HOSTILE], name=HOSTILE, status="failed", error=HOSTILE)])
    page = visit(serve(outputs))
    page.wait_for_selector("#sweep-list li")
    lines_until(page, "chart.data.length == 5")
    page.get_by_role("button", name="Show runs").click()
    page.fill("#filter", "")
    page.get_by_role("button", name=HOSTILE, exact=True).first.click()
    page.wait_for_selector("#details-parts pre.bad")
    assert HOSTILE in page.inner_text("#details-name")
    page.hover("#chart", force=True)
    assert page.evaluate("window.harmed") is None
    assert page.locator("main b, main i, main img, dialog img, dialog script").count() == 0
    sweep.end("interrupted")


def test_the_keyboard_is_enough(outputs, serve, visit):
    page = visit(serve(outputs))
    page.keyboard.press("/")
    page.keyboard.type("gru")
    until(page, "document.querySelectorAll('tr[data-run]').length == 1")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.part") == "open":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#details[open] pre.log")
    assert HOSTILE in page.inner_text("#details pre.log")
    assert page.is_disabled("#stop") and page.is_enabled("#retry")
    page.keyboard.press("Escape")
    until(page, "!document.getElementById('details').open")
    assert page.evaluate("document.activeElement.dataset.part") == "open", "the focus is where it was"


def test_what_was_asked_for_is_answered_where_it_can_be_seen(outputs, growing, serve, visit):
    growing.run.update(attempts=[{"started": "2999-01-01T00:00:00+00:00"}])
    page = visit(serve(outputs))
    page.on("dialog", lambda dialog: dialog.accept())
    page.fill("#filter", "rnn")
    page.locator("td.name button").first.click()
    page.click("#stop")
    until(page, "document.getElementById('said').innerText.includes('still starting; try again')")
    box = page.locator("#said").bounding_box()
    assert page.evaluate("([x, y]) => document.elementFromPoint(x, y).id", [box["x"] + 9, box["y"] + 9]) == "said"


def test_rows_are_sorted_and_chosen(outputs, serve, visit):
    page = visit(serve(outputs))
    page.click("th[data-key='validation/loss'] button")
    losses = [float(text) for text in page.locator("td.number:nth-child(10)").all_inner_texts() if text]
    assert losses == sorted(losses) and len(losses) == 3
    assert page.get_attribute("th[data-key='validation/loss']", "aria-sort") == "ascending"
    assert page.is_disabled("#compare")
    page.locator("tr[data-run] input").nth(0).check()
    lines_until(page, "chart.data.length == 1")
    assert page.inner_text("#compare") == "Compare 1"
    page.fill("#filter", "lstm")
    page.get_by_role("button", name="Select all shown").click()
    lines_until(page, "chart.data.length >= 2")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(outputs, growing, serve, visit, viewport, scheme):
    growing.grow(20)
    sweep = Sweep(outputs / "sweeps" / ("2026-01-01_10-00-00-" + "1" * 60))
    sweep.begin(["-m", "seed=" + ",".join(map(str, range(200)))], {}, {})
    sweep.write([Job(0, [], status="failed", error="E" * 300)])
    page = visit(serve(outputs), viewport, color_scheme=scheme)
    lines_until(page, "chart.data.length == 5")
    page.wait_for_selector("#sweep-list li")
    width, inside = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= inside, "nothing is to be scrolled to the side"
    colours = page.evaluate(
        "[...document.querySelectorAll('body, header p, .note, td span')].map((e) => [getComputedStyle(e).color, "
        "getComputedStyle(document.body).backgroundColor])"
    )
    assert all(contrast(ink, paper) >= 4.5 for ink, paper in colours if not ink.startswith("rgba(0, 0, 0, 0"))
    sweep.end("interrupted")


def contrast(first: str, second: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)
