import os
import subprocess
import sys

import pytest

from lmlab.errors import UserError
from lmlab.surroundings import drop_empty_variables
from lmlab.wandb.settings import MODES, WandbOptions

SECTION = dict.fromkeys(("project", "entity", "name", "group", "notes")) | {"mode": "auto"}

pytestmark = pytest.mark.usefixtures("no_wandb")


def read(tags=(), **section):
    return WandbOptions.of({"logger": {"wandb": SECTION | section}, "tags": list(tags)})


def test_what_nothing_says_has_its_defaults():
    assert read() == WandbOptions(None, "lmlab", None, None, None, None, None, [])
    assert WandbOptions.of({"logger": {}}) is None and WandbOptions.of({}) is None


def test_the_configuration_goes_before_variables_and_these_before_the_files(write_settings, monkeypatch, tmp_path):
    write_settings(tmp_path / "home" / ".config" / "wandb", project="user", entity="user", run_group="user")
    assert (read().project, read().entity, read().group) == ("user", "user", "user")
    write_settings(tmp_path / "wandb", project="folder", entity="folder")
    assert (read().project, read().entity, read().group) == ("folder", "folder", "user")
    variables = {"PROJECT": "p", "RUN_GROUP": "g", "TAGS": "x,y", "NOTES": "why", "NAME": "n", "JOB_TYPE": "j"}
    for name, value in variables.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert read() == WandbOptions(None, "p", "folder", "n", "g", "why", "j", ["x", "y"])
    own = read(["t"], project="q", entity="e", name="m", group="h", notes="so")
    assert own == WandbOptions(None, "q", "e", "m", "h", "so", "j", ["t"])


def test_a_variable_without_a_value_counts_as_unset(write_settings, monkeypatch, tmp_path):
    write_settings(tmp_path / "wandb", project="folder", mode="offline")
    for name in (
        "MODE",
        "PROJECT",
        "ENTITY",
        "RUN_GROUP",
        "TAGS",
        "NOTES",
        "NAME",
        "JOB_TYPE",
        "RUN_ID",
        "DISABLED",
        "DIR",
    ):
        monkeypatch.setenv(f"WANDB_{name}", "")
    assert read() == WandbOptions("offline", "folder", None, None, None, None, None, [])
    drop_empty_variables()
    assert not [name for name in os.environ if name.startswith("WANDB_")]


@pytest.mark.parametrize(
    ("variables", "file", "configured", "mode"),
    [
        ({}, None, "online", "online"),
        ({}, "offline", "auto", "offline"),
        ({}, "offline", "online", "online"),
        ({}, "disabled", "online", "disabled"),
        ({"WANDB_MODE": "online"}, "disabled", "auto", "online"),
        ({"WANDB_MODE": "offline"}, None, "online", "offline"),
        ({"WANDB_MODE": "dryrun"}, None, "auto", "offline"),
        ({"WANDB_MODE": "disabled"}, None, "online", "disabled"),
        ({"WANDB_DISABLED": "true"}, None, "online", "disabled"),
        ({"WANDB_DISABLED": "false"}, None, "auto", None),
        ({}, None, "disabled", "disabled"),
    ],
)
def test_switched_off_is_off(variables, file, configured, mode, write_settings, monkeypatch, tmp_path):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if file is not None:
        write_settings(tmp_path / "wandb", mode=file)
    options = read(mode=configured)
    assert (options.mode if options is not None else "disabled") == mode


def test_what_wandb_setup_was_given_in_this_process_counts():
    code = "import wandb; wandb.setup(wandb.Settings(mode='{}', silent=True))\n"
    code += "from lmlab.wandb.settings import WandbOptions\n"
    code += "print(WandbOptions.of({{'logger': {{'wandb': {{}}}}}}))"
    shown = [
        subprocess.run([sys.executable, "-c", code.format(mode)], capture_output=True, text=True, check=True).stdout
        for mode in ("disabled", "offline", "online")
    ]
    assert shown[0] == "None\n" and "mode='offline'" in shown[1] and "mode=None" in shown[2]


@pytest.mark.parametrize(
    ("variables", "tags", "section", "message"),
    [
        ({}, [], {"project": "a/b"}, "logger.wandb.project=a/b: expected the name of a W&B project, of 1 to 128"),
        ({}, [], {"project": "a" * 129}, "(has 129)"),
        ({"WANDB_PROJECT": "a%:b"}, [], {"project": "fine"}, "WANDB_PROJECT=a%:b: expected the name of a W&B project"),
        ({}, ["fine", "x" * 65], {}, "tags: xxxxxxxx"),
        ({}, [""], {}, "tags=: W&B accepts tags of 1 to 64 characters, this one has 0"),
        ({"WANDB_TAGS": "a,,b"}, ["fine"], {}, "WANDB_TAGS=a,,b: W&B accepts tags of 1 to 64 characters"),
        ({}, [], {"group": "g" * 129}, "logger.wandb.group=ggg"),
        ({"WANDB_NAME": "n" * 129}, [], {}, "WANDB_NAME=nnn"),
        ({"WANDB_JOB_TYPE": "j" * 65}, [], {}, "WANDB_JOB_TYPE=jjj"),
        ({"WANDB_RUN_ID": "a/b"}, [], {}, "WANDB_RUN_ID=a/b: expected the id of a W&B run"),
        ({"WANDB_MODE": "onlin"}, [], {}, "WANDB_MODE=onlin: W&B has no such mode (did you mean 'online'?)"),
        ({}, [], {"mode": "onlin"}, "logger.wandb.mode=onlin: unknown value (did you mean 'online'?)"),
    ],
)
def test_what_wandb_refuses_is_refused_before(variables, tags, section, message, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as error:
        read(tags, **section)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_is_longest_is_taken():
    options = read(["t" * 64], project="p" * 128, group="g" * 128, name="n" * 128, notes="n" * 5000)
    assert len(options.notes) == 5000 and len(options.project) == 128


def test_the_limits_and_modes_are_those_of_the_installed_package():
    from typing import get_args

    import wandb
    from pydantic import ValidationError

    assert set(get_args(wandb.Settings.model_fields["mode"].annotation)) == set(MODES)
    for name, value in {"project": "a" * 128, "run_tags": ["a" * 64], "run_id": "a"}.items():
        wandb.Settings(**{name: value})
    refused = [("project", "a" * 129), ("run_tags", ["a" * 65]), ("run_tags", [""])]
    refused += [("project", f"a{char}") for char in "/\\#?%:"] + [("run_id", f"a{char}") for char in ":;,#?/'"]
    for name, value in refused:
        with pytest.raises((ValidationError, wandb.errors.UsageError)):
            wandb.Settings(**{name: value})
