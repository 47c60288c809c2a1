import pytest

from lmlab.errors import UserError
from lmlab.runs.lookup import by_start, directory_for, existing, find, next_copy, run_by_id
from lmlab.runs.run import Run

CONFIG = {"name": "lstm-text", "seed": 1, "tags": [], "paths": {}, "model": {"width": 1}}


def paths(folder):
    return {"outputs": str(folder), "runs": str(folder), "cache": str(folder), "corpora": None}


def make(folder, name, run_id, **fields):
    run = Run(folder / f"{name}-{run_id}")
    run.create(CONFIG | {"name": name, "paths": paths(folder)}, run_id, **fields)
    return run


@pytest.fixture
def config(tmp_path):
    return CONFIG | {"paths": paths(tmp_path)}


def test_a_run_is_found_by_directory_id_and_start_of_id(tmp_path):
    run = make(tmp_path, "lstm-text", "abc123")
    make(tmp_path, "gpt2-text", "abd999")
    for given in (str(run.path), run.path.name, "abc123", "abc"):
        assert find(given, tmp_path).path == run.path


def test_an_ambiguous_start_lists_the_candidates(tmp_path):
    make(tmp_path, "lstm-text", "abc123")
    make(tmp_path, "gpt2-text", "abd999")
    with pytest.raises(UserError, match="run=ab: ambiguous, it is the start of abc123, abd999"):
        find("ab", tmp_path)


def test_a_start_that_fits_a_run_and_its_repetitions_means_the_run(tmp_path):
    run = make(tmp_path, "lstm-text", "abc123")
    again = make(tmp_path, "lstm-text", "abc123-2")
    assert find("abc", tmp_path) == run
    assert find("abc123-2", tmp_path) == again


@pytest.mark.parametrize("given", ["zzz", None, ""])
def test_nothing_found_is_one_clear_line(tmp_path, given):
    make(tmp_path, "lstm-text", "abc123")
    with pytest.raises(UserError, match="run="):
        find(given, tmp_path)


def test_a_directory_that_is_no_run_says_so(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        find(str(tmp_path), tmp_path)


def test_a_renamed_run_is_still_the_same_run(tmp_path, config):
    wanted = directory_for(config)
    run_id = wanted.path.name.removeprefix("lstm-text-")
    run = make(tmp_path, "another-name", run_id)
    assert existing(config) == run


def test_the_next_copy_is_the_newest_unfinished_one(config):
    first = next_copy(config)
    assert first.path.name.endswith("-2")
    first.create(config, "x-2")
    assert next_copy(config) == first
    first.update(status="finished")
    assert next_copy(config).path.name.endswith("-3")


@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
def test_files_cut_short_are_named(tmp_path, name):
    run = make(tmp_path, "lstm-text", "abc123")
    path = run.path / name
    path.write_text(path.read_text()[:7])
    with pytest.raises(UserError, match=name):
        _ = run.config, run.manifest


def test_the_start_of_a_name_means_it_alone():
    names = ["lr-grid", "lr-grid-2", "width"]
    assert by_start("name", "lr-grid", names) == "lr-grid"
    assert by_start("name", "w", names) == "width"
    assert by_start("name", "x", names) is None
    with pytest.raises(
        UserError, match="name=lr: ambiguous, it is the start of lr-grid, lr-grid-2; give more characters"
    ):
        by_start("name", "lr", names)
    with pytest.raises(UserError, match="the start of n0, n1, n2, n3, n4, n5 and 4 more; give"):
        by_start("runs", "n", [f"n{number}" for number in range(10)])


def test_a_run_and_its_repetitions_count_as_one():
    assert run_by_id("run", "ab", ["abc-2", "abc-10", "abc"]) == "abc"
    assert run_by_id("run", "abc", ["abc-10", "abc-2"]) == "abc-2"
    with pytest.raises(UserError, match="ambiguous"):
        run_by_id("run", "ab", ["abc", "abd-2"])
