"""What several tests of runs share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def no_wandb(tmp_path, monkeypatch):
    """A working folder and a user without any of W&B's settings."""
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write_settings() -> Callable[..., None]:
    """Write W&B's settings file in a folder."""

    def write(folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True)
        rows = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (folder / "settings").write_text(f"[default]\n{rows}")

    return write
