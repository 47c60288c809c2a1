"""Take the pictures of docs/pictures: a report, and the dashboard with a run in progress.

    LMLAB_OUTPUTS=/tmp/lmlab/outputs python scripts/pictures.py

A small study is computed first (10 minutes on one core), unless the outputs folder has it already. Needs chromium.
"""

import io
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
LMLAB = [sys.executable, "-m", "lmlab"]
SAME = ["experiment=rnn_vs_transformer", "trainer.threads=1", "progress=false"]
STUDY = [*LMLAB, "study", *SAME, "study.trials=3", "study.seeds=[1,2,3]"]
LONGER = [*LMLAB, "train", *SAME, "model=gru", "optimizer.lr=1e-2", "budget.tokens=1M", "validation.times=40"]
WIDTH = 1400
COLOURS = 64


def save(picture: bytes, name: str) -> None:
    """Write a screenshot with a palette, which makes it a quarter of the size."""
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / name
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def report(browser: Any, page_file: Path) -> None:
    """Show the conclusion and the first table of a report above its learning curves."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light", reduced_motion="reduce")
    page.goto(page_file.as_uri())
    curves = page.locator("figure.chart").first
    curves.scroll_into_view_if_needed()
    curves.locator(".main-svg").first.wait_for(state="attached")
    page.evaluate("scrollTo(0, 0)")
    title, table, chart = (part.bounding_box() for part in (page.locator("h1"), page.locator("#results"), curves))
    left = title["x"] - 24
    areas = [(title["y"] - 24, table["y"] + table["height"] + 24), (chart["y"], chart["y"] + chart["height"] - 30)]
    clips = [{"x": left, "y": top, "width": WIDTH - left, "height": bottom - top} for top, bottom in areas]
    save(joined(*(page.screenshot(full_page=True, clip=clip) for clip in clips)), "report.png")
    page.close()


def joined(*pictures: bytes) -> bytes:
    """Place pictures of one width below each other."""
    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    whole = Image.new("RGB", (images[0].width, sum(image.height for image in images)), "white")
    height = 0
    for image in images:
        whole.paste(image, (0, height))
        height += image.height
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()


def dashboard(browser: Any, address: str) -> None:
    """Show the curves and the table of runs."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1072}, color_scheme="light")
    page.goto(address)
    page.wait_for_selector("tr[data-run] progress")
    page.locator("#choose").click()
    page.wait_for_selector("#chart .main-svg", state="attached")
    time.sleep(3)  # two updates
    save(page.screenshot(), "dashboard.png")
    page.close()


def main() -> None:
    """Compute what is missing, and take both pictures."""
    said = subprocess.run(STUDY, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(said)
    (page_file,) = re.findall(r"\S+report\.html", said)
    running = subprocess.Popen(LONGER, stdout=subprocess.DEVNULL)
    serving = subprocess.Popen([*LMLAB, "dashboard", "port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout is not None
        address = re.findall(r"http://\S+", serving.stdout.readline())[0]
        with sync_playwright() as steer:
            browser = steer.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            report(browser, Path(page_file).absolute())
            time.sleep(40)  # the running run has a curve
            dashboard(browser, address)
            browser.close()
    finally:
        for process in (running, serving):
            process.send_signal(signal.SIGINT)
            process.wait()


if __name__ == "__main__":
    main()
