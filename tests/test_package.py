"""What is installed from a wheel is complete."""

import os
import subprocess
import sys
import zipfile
from itertools import chain
from pathlib import Path

import pytest

from lmlab.config.canonical import CONF

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_conf_folder_travels_inside_the_wheel(tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    for path in CONF.rglob("*.yaml"):
        assert f"lmlab/conf/{path.relative_to(CONF)}" in names
    assert {f"lmlab/analysis/report/{name}" for name in ("page.html", "page.css", "page.js", "charts.js")} <= names
    code = "import lmlab.config.canonical; print(lmlab.config.canonical.CONF)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert shown.stdout.strip() == str(tmp_path / "installed" / "lmlab" / "conf")


def test_every_pinned_version_satisfies_the_declared_ranges():
    packaging = pytest.importorskip("packaging.requirements")
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
    wanted = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    for text in wanted:
        requirement = packaging.Requirement(text)
        if requirement.name != "lmlab":
            assert requirement.specifier.contains(pinned[requirement.name.lower()]), text
