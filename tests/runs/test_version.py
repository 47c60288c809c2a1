import json

import pytest
from synthetic_runs import EXACT_MATCH

from lmlab.config.identity import identity
from lmlab.errors import UserError
from lmlab.metrics import Measures
from lmlab.runs.lookup import find
from lmlab.runs.run import Run
from lmlab.runs.version import _ADDED, VERSION

CONFIG = {"name": "lstm-text", "seed": 1, "tags": [], "paths": {}, "model": {"width": 1}, "trainer": {"devices": 1}}


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path / "lstm-text-abc")
    made.create(CONFIG, "abc")
    return made


def rewrite(run, **fields):
    manifest = json.loads((run.path / "run.json").read_text()) | fields
    (run.path / "run.json").write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


def test_what_an_older_run_lacks_is_filled_in_and_what_it_has_is_kept(run):
    added = {key.removeprefix("trainer."): value for key, value in _ADDED.items() if key.startswith("trainer.")}
    assert added and run.config["trainer"] == added | {"devices": 1}
    assert run.config["execution"] == {}
    (run.path / "config.yaml").write_text("model: {width: 1}\ntrainer: {nodes: 4}\n")
    assert run.config["trainer"]["nodes"] == 4


@pytest.mark.parametrize("key", _ADDED)
def test_what_is_filled_in_changes_no_identity(key):
    filled = json.loads(json.dumps(CONFIG))
    *parents, last = key.split(".")
    node = filled
    for parent in parents:
        node = node[parent]
    node[last] = _ADDED[key]
    assert identity(filled) == identity(CONFIG)


def test_a_manifest_without_a_version_is_of_the_first_and_of_this_one_once_it_is_written_to(run):
    assert run.manifest["version"] == VERSION
    rewrite(run, version=None)
    assert run.manifest["version"] == 0
    run.update(status="finished")
    assert run.manifest["version"] == VERSION


def test_a_run_that_does_not_say_its_metrics_has_those_of_its_data(run):
    assert "measures" not in run.manifest and run.measures.primary == "validation/bits_per_byte"
    rewrite(run, data={"name": "text", "licence": "MIT"})
    assert run.measures.shown == ("validation/bits_per_byte", "validation/loss")
    rewrite(run, data={"name": "copying", "licence": "generated"})
    assert Measures.of(run.manifest["measures"]) == run.measures
    assert run.measures.shown == ("validation/accuracy", "validation/loss", "longer/accuracy")
    assert "bits_per_byte" not in run.measures.metrics
    record = EXACT_MATCH.to_record()
    rewrite(run, measures=record)
    assert run.measures == EXACT_MATCH
    for metric in record["metrics"]:
        del metric["per_token"]  # not recorded by earlier versions
    rewrite(run, measures=record)
    assert run.measures == EXACT_MATCH


LOSS = EXACT_MATCH.to_record()["metrics"][1]


@pytest.mark.parametrize(
    "change",
    [
        {"primary": "validation/mine"},
        {"shown": None},
        {"metrics": [LOSS]},
        {"metrics": [{"name": "exact_match"}, LOSS]},
        {"metrics": [LOSS | {"name": "exact_match", "better": "most"}, LOSS]},
        {"metrics": [LOSS | {"name": "exact_match", "form": "{:.4q}"}, LOSS]},
    ],
)
def test_metrics_that_cannot_be_read_are_refused_by_name(run, change):
    rewrite(run, measures=EXACT_MATCH.to_record() | change)
    with pytest.raises(UserError, match=r"lstm-text-abc/run.json is no manifest of a run: measures="):
        _ = run.manifest


def test_a_newer_one_is_refused_and_hides_no_other(run, tmp_path):
    other = Run(tmp_path / "lstm-text-abd")
    other.create(CONFIG, "abd")
    rewrite(run, version=VERSION + 1, provenance={"packages": {"lmlab": "9.8.7"}})
    message = f"lstm-text-abc: written in version {VERSION + 1} .* by lmlab 9.8.7; .* up to {VERSION}, so a newer "
    for read in (lambda: run.status, lambda: run.update(status="failed"), lambda: find("abc", tmp_path)):
        with pytest.raises(UserError, match=message):
            read()
    assert find("abd", tmp_path) == other


def test_a_version_that_is_no_number_is_refused_too(run):
    rewrite(run, version="2b")
    with pytest.raises(UserError, match="written in version 2b of the run directory; this lmlab reads"):
        _ = run.manifest
