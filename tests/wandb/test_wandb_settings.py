"""W&B's own variables and settings files, and the client that is set up with them."""

import subprocess
import sys

import pytest

from lmlab.errors import UserError
from lmlab.runs.run import Run
from lmlab.wandb.mirror import remove_earlier_attempts
from lmlab.wandb.settings import check_settings, read_settings

pytestmark = pytest.mark.usefixtures("no_wandb")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"mode = disabled\n", "wandb/settings: W&B cannot read these settings (File contains no section headers."),
        (b"[default]\nrun_notes = 50% more\n", "wandb/settings: W&B cannot read these settings ('%' must be"),
        (b"[default]\nrun_notes = \xe9\n", "wandb/settings: W&B cannot read these settings ('utf-8' codec"),
    ],
)
def test_files_that_wandb_cannot_read_are_refused_since_they_may_switch_it_off(content, message, tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_settings()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_for_wandb_has_its_settings_too(write_settings, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    write_settings(tmp_path / "elsewhere" / "wandb", mode="disabled")  # as wandb disabled writes them
    assert read_settings() == {"mode": ("disabled", f"{tmp_path}/elsewhere/wandb/settings: mode")}


@pytest.mark.parametrize(
    ("variables", "settings", "message"),
    [
        ({"WANDB_BASE_URL": "wandb"}, {}, "WANDB_BASE_URL=wandb: W&B refuses this value (Input should be a valid URL"),
        ({"WANDB_INIT_TIMEOUT": "long"}, {}, "WANDB_INIT_TIMEOUT=long: W&B refuses this value (Input should be a"),
        ({"WANDB_SWEEP_ID": " a"}, {}, "WANDB_SWEEP_ID= a: W&B refuses this value (Sweep ID cannot start"),
        ({}, {"base_url": "wandb"}, "wandb/settings: base_url=wandb: W&B refuses this value (Input should be a valid"),
        ({}, {"bse_url": "http://a.b"}, "wandb/settings: bse_url=http://a.b: W&B refuses this value (Extra inputs"),
    ],
)
def test_settings_that_wandb_fails_on_are_refused(variables, settings, message, write_settings, monkeypatch, tmp_path):
    good = {"WANDB_BASE_URL": "http://a.b", "WANDB_SILENT": "true", "WANDB_RUN_TAGS": "a,b", "WANDB_NO_SETTING": "x"}
    for name, value in (good | variables).items():
        monkeypatch.setenv(name, value)
    write_settings(tmp_path / "wandb", **({"ignore_globs": "a,b", "anonymous": "never", "project": "p"} | settings))
    with pytest.raises(UserError) as error:
        check_settings()
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_a_key_counts_where_the_files_say_offline(mode, write_settings, monkeypatch, tmp_path):
    write_settings(tmp_path / "wandb", mode=mode)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    code = "from lmlab.wandb.mirror import logged_in; print(logged_in())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_earlier_attempts_of_a_run_alone_are_removed_from_a_folder_of_several(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "shared"))
    folders = ["run-20260101_000000-a", "offline-run-20260101_000000-a", "code-a", "run-20260101_000000-b-a", "code-b"]
    for name in folders:
        (tmp_path / "shared" / "wandb" / name).mkdir(parents=True)
    remove_earlier_attempts(Run(tmp_path / "run"), "a")
    left = sorted(folder.name for folder in (tmp_path / "shared" / "wandb").iterdir())
    assert left == ["code-b", "run-20260101_000000-b-a"]
