"""``scripts/check_language.py`` finds problems of prose and names, and leaves other text alone."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_language.py"


@pytest.fixture(scope="module")
def check_language():
    spec = importlib.util.spec_from_file_location("check_language", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('"""Whether it rains."""\n', [1]),
        ('def rains():\n    """Whether it rains."""\n', [2]),
        ('RAINS = True\n"""Whether it rains."""\n', [2]),
        ('class Day:\n    rains: bool\n    """Whether it rains."""\n', [3]),
        ('class Day:\n    def __init__(self):\n        self.rains = True\n        """Whether it rains."""\n', [4]),
        ('RAINS = True\n"""True if it rains."""\nprint()\n"""Whether it rains."""\n', []),  # the last is no docstring
        ('TEXT = "Whether it rains."\n', []),
        ("found = 1\n", [1]),
        ("class Day:\n    found: int\n", []),
        ("count = 1  # nobody counts\n", [1]),
    ],
)
def test_lines_with_problems(check_language, tmp_path, source, lines):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [line for line, _ in check_language.problems(path)] == lines
