import pytest
import yaml

from lmlab.runs.lookup import config_here, directory_here
from lmlab.runs.run import Run

CONFIG = {"name": "a", "seed": 1, "tags": [], "model": {}}


@pytest.fixture
def project(tmp_path):
    """A run in a project with its data, as it lies after the project was moved."""
    old = tmp_path / "old" / "project"
    run = Run(old / "outputs" / "runs" / "a-1")
    (old / "data").mkdir(parents=True)
    (old / "data" / "book.txt").write_text("text")
    (tmp_path / "shared.txt").write_text("text")
    paths = {
        "outputs": f"{old}/outputs",
        "runs": f"{old}/outputs/runs",
        "cache": f"{old}/outputs/cache",
        "corpora": None,
    }
    data = {"paths": {"train": f"{old}/data/book.txt", "validation": [str(tmp_path / "shared.txt")]}}
    run.create(CONFIG | {"paths": paths, "data": data}, "1", provenance={"directory": str(old)})
    (tmp_path / "new").mkdir()
    return old.rename(tmp_path / "new" / "project")


def test_places_that_moved_along_are_named_anew(project, tmp_path):
    run = Run(project / "outputs" / "runs" / "a-1")
    config = config_here(run)
    assert config["paths"]["cache"] == str(project / "outputs" / "cache")
    assert config["paths"]["corpora"] is None
    assert config["data"]["paths"] == {
        "train": str(project / "data" / "book.txt"),
        "validation": [str(tmp_path / "shared.txt")],
    }
    assert directory_here(run) == project


def test_places_that_are_still_there_stay(project, tmp_path):
    (tmp_path / "old" / "project" / "data").mkdir(parents=True)
    (tmp_path / "old" / "project" / "data" / "book.txt").write_text("text")
    run = Run(project / "outputs" / "runs" / "a-1")
    assert config_here(run)["data"]["paths"]["train"] == str(tmp_path / "old" / "project" / "data" / "book.txt")


def test_wildcards_move_along_unless_a_file_still_matches(project, tmp_path):
    run = Run(project / "outputs" / "runs" / "a-1")
    config = run.config
    config["data"] = {"paths": f"{tmp_path}/old/project/data/*.txt"}
    (run.path / "config.yaml").write_text(yaml.safe_dump(config))
    assert config_here(run)["data"]["paths"] == f"{project}/data/*.txt"
    (tmp_path / "old" / "project" / "data").mkdir(parents=True)
    (tmp_path / "old" / "project" / "data" / "book.txt").write_text("text")
    assert config_here(run)["data"]["paths"] == f"{tmp_path}/old/project/data/*.txt"


def test_a_run_directory_on_its_own_has_no_project(project, tmp_path):
    run = Run((project / "outputs" / "runs" / "a-1").rename(tmp_path / "a-1"))
    assert config_here(run) == run.config
