import json
import shutil

import pytest
from synthetic_runs import write_run

from lmlab.analysis.selection import select
from lmlab.config.experiment import Folders
from lmlab.errors import UserError
from lmlab.runs.run import Run


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    runs = [write_run(folder / "runs", f"model={model}", seed=seed) for model in ("lstm", "gru") for seed in (1, 2)]
    runs[0].update(tags=["paper"])
    again = Run(runs[0].path.with_name(runs[0].path.name + "-2"))
    shutil.copytree(runs[0].path, again.path)
    again.update(id=runs[0].id + "-2", tags=[])
    for name, jobs in {"2026-01-01_10": runs[:2], "2026-01-02_10": runs[2:]}.items():
        sweep = folder / "sweeps" / name
        sweep.mkdir(parents=True)
        (sweep / "sweep.json").write_text("{}")
        rows = [{"number": n, "overrides": [], "path": str(run.path)} for n, run in enumerate(jobs)]
        (sweep / "jobs.json").write_text(json.dumps([*rows, {"number": 9, "overrides": []}]))
    return folder, runs, again


@pytest.fixture
def folders(outputs):
    return Folders.below(outputs[0])


def meant(records):
    return {record.run.path for record in records.readable}


def of(*runs):
    return {run.path for run in runs}


def test_everything_that_a_run_may_be_called(outputs, folders):
    folder, (a, b, c, d), again = outputs
    every = {
        a.id[:6]: of(a),
        again.id: of(again),
        str(b.path): of(b),
        c.path.name: of(c),
        "2026-01-01": of(a, b),
        str(folder / "sweeps" / "2026-01-02_10"): of(c, d),
        str(folder / "runs"): of(a, b, c, d, again),
    }
    for word, expected in every.items():
        assert meant(select(folders, word)) == meant(select(folders, [word])) == expected, word
    assert meant(select(folders)) == of(a, b, c, d, again)
    mixed = select(folders, [b.id, "2026-01-01", str(a.path), d.id[:8]])
    assert len(mixed.readable) == 3 and meant(mixed) == of(a, b, d)


def test_tags_and_options(outputs, folders):
    _, (a, b, c, d), _ = outputs
    assert meant(select(folders, tag="paper")) == of(a)
    assert meant(select(folders, where={"model": "gru"})) == of(c, d)
    assert meant(
        select(folders, "2026-01-01", where={"seed": 2, "model": {"depth": b.config["model"]["depth"]}})
    ) == of(b)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"runs": "2026-01"}, "ambiguous, it is the start of 2026-01-01_10, 2026-01-02_10"),
        ({"runs": "2026-01-O1_10"}, r"runs=2026-01-O1_10: neither a directory.*did you mean '2026-01-01_10'"),
        ({"tag": "papr"}, "tag=papr: none of 5 runs has this tag .did you mean 'paper'"),
        ({"where": {"model": "lstn"}}, r"where.model=lstn: none of 5 runs.*did you mean 'lstm'"),
        (
            {"where": {"optimiser": {"lr": 1}}},
            "optimiser.lr is not an option of these runs .did you mean 'optimizer.lr'",
        ),
    ],
)
def test_what_fits_nothing_is_one_clear_line(folders, asked, said):
    with pytest.raises(UserError, match=said) as error:
        select(folders, **asked)
    assert "\n" not in str(error.value)


def test_what_is_broken_is_told_of_only_if_it_is_meant(outputs, folders, tmp_path):
    folder, (a, *_), _ = outputs
    copy = tmp_path / "runs"
    shutil.copytree(folder / "runs", copy)
    broken = copy / a.path.name
    (broken / "run.json").write_text("{")
    folders = Folders.below(tmp_path)
    assert list(select(folders).unreadable) == [broken]
    assert not select(folders, outputs[1][1].id).unreadable
    assert list(select(folders, str(broken)).unreadable) == [broken]
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        select(folders, broken.name.rpartition("-")[2][:8])


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    folders = Folders.below(tmp_path)
    with pytest.raises(UserError, match="holds no runs"):
        select(folders)
    with pytest.raises(UserError, match="holds no runs"):
        select(folders, "abc")
