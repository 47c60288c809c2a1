"""The examples of docs/extend.md do what it says."""

import re
import shlex
from pathlib import Path

import pytest

from lmlab.config.kinds import KINDS
from lmlab.config.short_names import long_name

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE))
EXAMPLES = re.findall(r"^```console\n\$ (lmlab .*?)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
QUICK = "scheduler=restarts"
ON_A_CPU = ["trainer=cpu", "trainer.threads=1", "progress=false"]
"""Changes no result, but that of a machine with a GPU."""


@pytest.fixture
def folder(tmp_path):
    """A working folder with all files of the page."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def pattern(line: str) -> str:
    """A regular expression for a shown line of output, with any numbers in the place of its own."""
    number = r"\b[0-9a-f]{10}\b|[\d.,]*\d"  # or the id of a run
    return f"({number})".join(map(re.escape, re.split(number, " ".join(line.split()))))


def check(lmlab, command: str, shown: str, folder: Path) -> None:
    """Run a command as it is shown, and find the lines of output that are shown in what it prints."""
    loggers = [] if "logger=" in command else ["logger=[]"]
    said = lmlab(*shlex.split(command)[1:], *ON_A_CPU, *loggers, cwd=folder).stdout
    lines = [" ".join(line.split()) for line in said.splitlines()]
    expected = [line for line in shown.splitlines() if line != "..."]
    assert expected, command
    for line in expected:
        assert any(re.fullmatch(pattern(line), one) for one in lines), f"{command}: {line} is not in\n{said}"


def test_every_file_is_used():
    chosen = " ".join(command for command, _ in EXAMPLES)
    for name, text in FILES.items():
        if name.startswith("my_conf/"):
            group = Path(name).parent.name
            assert f"{group}={Path(name).stem}" in chosen, name
            ((module, definition),) = re.findall(r"(?:_target_|engine): (my_\w+)\.(\w+)", text)
            assert re.search(rf"^(class|def) {definition}\b", FILES[f"{module}.py"], flags=re.MULTILINE)


def test_there_is_an_example_of_every_kind():
    examples = {str(Path(name).parent.relative_to("my_conf")) for name in FILES if name.startswith("my_conf/")}
    assert {long_name(kind.group) for kind in KINDS} - {"model", "trainer"} == examples


@pytest.mark.parametrize(("command", "shown"), [one for one in EXAMPLES if QUICK in one[0]])
def test_a_small_example(lmlab, folder, command, shown):
    check(lmlab, command, shown, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "shown"), [one for one in EXAMPLES if QUICK not in one[0]])
def test_the_other_examples(lmlab, folder, command, shown):
    check(lmlab, command, shown, folder)
