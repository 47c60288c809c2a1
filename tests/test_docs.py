"""The pages name commands that compose, options and places that exist; tests/end_to_end/test_docs.py executes them."""

import re

import pytest
from documented import PAGES, ROOT, documented
from test_extend import FILES

from lmlab.cli import COMMANDS
from lmlab.config.options import groups, options_of

ALL = [command for page in PAGES for command in documented(page)]
SHOWS = {"--help", "--cfg"}
LINES = {
    command.line: command
    for command in ALL
    if any("=" in word for word in command.words) and command.words[0] != "options" and command.page != "docs/extend.md"
}
"""Commands with options; test_extend.py executes those of docs/extend.md."""
PICTURES = 200_000
"""The largest size of a picture in bytes."""


def test_every_command_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(ALL) > 60
    for command in ALL:
        program, name = command.line.split()[:2]
        assert name in (COMMANDS if program == "lmlab" else targets), command


@pytest.mark.parametrize("line", LINES)
def test_every_command_composes(lmlab, tmp_path, line):
    """A sweep with the last value of each option, because Hydra shows the configuration of one run only."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    words = [re.sub(r"^([\w./+]+=)[^\[{('\",]+,(?:.*,)?", r"\1", word) for word in LINES[line].words]
    varied = [word for word in words if re.search(r"=(tag|interval|range|choice)\(", word) or word == "-m"]
    shown = lmlab(*(word for word in words if word not in varied), *([] if SHOWS & {*words} else ["--cfg", "job"]))
    assert "paths:" in shown.stdout


def test_there_are_ten_commands():
    (block,) = re.findall(r"```bash\n(.*?)```", PAGES["README.md"], flags=re.DOTALL)
    assert len([line for line in block.splitlines() if line.startswith("lmlab ")]) == 10


def test_every_option_is_in_the_table_of_options():
    (table,) = re.findall(
        r"\| group \| options \|\n\| --- \| --- \|\n(.*?)\n\n", PAGES["docs/runs.md"], flags=re.DOTALL
    )
    shown = set(re.findall(r"[\w]+", table))
    for group in groups():
        if group not in ("budget", "hydra/sweeper"):
            missing = {*group.split("/"), *options_of(group)} - shown
            assert not missing, group


@pytest.mark.parametrize("name", [*PAGES, "CONTRIBUTING.md"])
def test_every_place_that_is_linked_exists(name):
    for path, anchor in re.findall(
        r"\]\((?!http)([\w./-]+)(?:#([\w-]+))?\)", (ROOT / name).read_text(encoding="utf-8")
    ):
        target = (ROOT / name).parent / path
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings}, (
            anchor
        )


def test_pictures_are_small_and_described():
    pictures = re.findall(r"!\[([^\]]*)\]\(([\w./-]+\.png)\)", PAGES["README.md"])
    assert {path for _, path in pictures} == {f"docs/pictures/{name}.png" for name in ("report", "dashboard")}
    for text, path in pictures:
        assert len(text.split()) > 8 and (ROOT / path).stat().st_size < PICTURES


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 130
