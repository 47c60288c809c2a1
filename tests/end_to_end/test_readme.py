"""The commands of the README do what it says."""

import re
import shlex
from pathlib import Path

import pytest

from lmlab.config.options import groups, options_of
from lmlab.runs.lookup import all_runs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
(BLOCK,) = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for line in BLOCK.splitlines() if line and not line.startswith("#")]


def test_there_are_ten_commands():
    assert len(COMMANDS) == 10


def test_every_command_of_the_readme_runs(lmlab, tmp_path):
    """In their order, in one folder; smaller networks than the shipped ones, which changes nothing else."""
    outputs = tmp_path / "outputs"
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert program == "lmlab"
        if "$RUN" in command:
            run = next(run for run in all_runs(outputs / "runs") if run.manifest["choices"]["model"] == "lstm")
            words = [word.replace("$RUN", run.id[:8]) for word in words]
        if words[0] == "train" and "--help" not in words:
            words += [
                "model.width=32",
                "model.depth=1",
                "validation.times=1",
                "validation.tokens=2000",
                "trainer.threads=1",
                "progress=false",
            ]
        done = lmlab(*words, cwd=ROOT)
        assert done.stdout.strip(), command


def test_every_option_is_in_the_table_of_options():
    page = (ROOT / "docs" / "runs.md").read_text()
    (table,) = re.findall(r"\| group \| options \|\n\| --- \| --- \|\n(.*?)\n\n", page, flags=re.DOTALL)
    shown = set(re.findall(r"[\w]+", table))
    for group in groups():
        if group not in ("budget", "hydra/sweeper"):
            missing = {*group.split("/"), *options_of(group)} - shown
            assert not missing, group


PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", PAGES)
def test_every_place_that_is_linked_exists(name):
    for path, anchor in re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", (ROOT / name).read_text()):
        target = (ROOT / name).parent / path
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings}, (
            anchor
        )


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130
