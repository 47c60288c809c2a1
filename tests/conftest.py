"""What several tests share: composed configurations, a small corpus, and runs through the real command line."""

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from hypothesis import settings

# Before torch is imported anywhere: two test processes on two cores must not fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
# A shell that starts the tests in the background lets them ignore what the keyboard sends, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("WANDB_API_KEY", None)

CORPORA = os.environ.get("LMLAB_CORPORA")

# No deadline: a first call may import torch. The same examples every time: a change fails for what it has changed.
# --hypothesis-profile=exploring draws others.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None, max_examples=300)
settings.load_profile("steady")

SMALL = [
    "model.width=16",
    "model.depth=2",
    "batch.size=4",
    "batch.context=16",
    "budget.tokens=640",  # ten steps
    "validation.times=5",
    "validation.tokens=256",
    "callbacks.samples.length=4",
    "log_every=1",
    "trainer=cpu",
    "trainer.threads=1",  # runs side by side would otherwise wait for each other's cores in every operation
    "progress=false",
]
"""Overrides for a run of ten steps that takes no time of its own."""


@pytest.fixture(scope="session", autouse=True)
def own_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder for the key that runs are signed with: the tests use none of the user's."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20 kB of made-up prose, the same in every session."""
    draw = random.Random(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "birds", "über", "every", "tree"]
    lines = [" ".join(draw.choices(words, k=8)) + "." for _ in range(500)]
    path = tmp_path_factory.mktemp("corpus") / "prose.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def small(corpus_file: Path) -> list[str]:
    """Overrides of a small run on the made-up corpus."""
    return ["data=text", "tokenizer=byte", f"data.paths={corpus_file}", *SMALL]


@pytest.fixture
def small_task() -> list[str]:
    """Overrides of a small run on a generated task."""
    return ["data=parity", *SMALL]


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Compose a command's configuration as the command line does, with outputs in a temporary folder."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from lmlab.config.canonical import CONF, canonical

    def composed(*overrides: str, command: str = "train", outputs: Path = tmp_path / "outputs") -> dict[str, Any]:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra_compose(command, [f"paths.outputs={outputs}", *overrides], return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            with open_dict(config):
                del config["hydra"]
            return canonical(config)

    return composed


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    """Where commands are forked from."""
    made = CommandLine()
    yield made
    made.close()


@pytest.fixture
def lmlab(tmp_path: Path, command_line: CommandLine) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command line in a process of its own, with outputs in a temporary folder."""

    def run(
        *arguments: str, check: bool = True, cwd: Path = tmp_path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        variables = os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "COLUMNS": "200"} | environment
        done = command_line.run([*arguments], cwd, variables, tmp_path)
        if check and done.returncode != 0:
            pytest.fail(f"lmlab {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    return run
