"""The code of docs/model.md is quoted from the source, or runs and holds what it asserts."""

import re
import textwrap
from pathlib import Path

import pytest
import torch
from model_sections import model_section

from lmlab.config.build import build

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^`(src/[\w/.]+)`:\n\n)?^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
QUOTED = [(name, code) for name, code in BLOCKS if name]


def parts(code: str) -> list[str]:
    """Return what stands between lines of dots, without the indentation that is common to it."""
    return [textwrap.dedent(part).strip("\n") for part in re.split(r"^\.\.\.\n", code, flags=re.MULTILINE)]


def where(part: str, source: str) -> int:
    """Return where whole lines stand in a source at any indentation; -1: nowhere."""
    places = (f"\n{source}".find("\n" + textwrap.indent(part, " " * width) + "\n") for width in range(0, 17, 4))
    return max(places)


@pytest.mark.parametrize(("name", "code"), QUOTED)
def test_quotations_are_in_the_source_in_this_order(name, code):
    source = (ROOT / name).read_text(encoding="utf-8")
    places = [where(part, source) for part in parts(code)]
    assert -1 not in places, parts(code)[places.index(-1)]
    assert places == sorted(places)


def test_the_lines_that_are_quoted_are_few():
    lines = [line for _, code in QUOTED for line in code.splitlines() if line.strip() not in ("", "...")]
    assert len(QUOTED) >= 5 and 25 <= len(lines) <= 45


@pytest.fixture(scope="module")
def page():
    """The names that the code of the page defines, after it has run."""
    program = "\n".join(code for name, code in BLOCKS if not name)
    assert program.count("assert ") >= 10
    with torch.random.fork_rng(devices=[]):
        names: dict = {"__name__": "page"}
        exec(compile(program, "docs/model.md", "exec"), names)
    return names


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_the_code_runs_and_builds_the_models_of_conf(name, page):
    model = model_section(f"model={name}", "model.width=64", "model.depth=2")
    composed = build(model, vocabulary=256, context=32)
    assert str(composed) == str(page[name])
    shapes = [{key: value.shape for key, value in one.state_dict().items()} for one in (composed, page[name])]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["api.md", "extend.md", "model.md"])
def test_every_place_that_is_linked_exists(name):
    for path in re.findall(r"\]\((?!http)([\w./-]+)\)", (ROOT / "docs" / name).read_text(encoding="utf-8")):
        assert (ROOT / "docs" / path).exists(), path
