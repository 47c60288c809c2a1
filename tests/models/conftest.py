"""Small models of every architecture that the files under conf/ compose to."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from lmlab.config import CONF, build, validate
from lmlab.models.language_model import LanguageModel

VOCABULARY, CONTEXT = 13, 24


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def is_possible(channel: str, block: str) -> bool:
    return not (block == "classic" and channel != "none")


ARCHITECTURES = [f"model={model}" for model in choices("model")] + [
    f"model=transformer mixer={mixer} channel={channel} block={block} head={head}"
    for mixer, channel, block, head in product(*map(choices, ("mixer", "channel", "block", "head")))
    if is_possible(channel, block)
]


@cache
def composed(overrides: tuple[str, ...]) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra_compose("train", list(overrides))
    node = OmegaConf.to_container(config.model, resolve=True)
    validate(node, "model")
    return node


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "architecture" in metafunc.fixturenames:
        metafunc.parametrize("architecture", ARCHITECTURES)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., LanguageModel]:
    """Build the model of some overrides (of width 16 and depth 2 unless they say otherwise), in evaluation mode."""

    def make(
        *overrides: str, vocabulary: int = VOCABULARY, context: int = CONTEXT, dtype: torch.dtype = torch.float32
    ) -> LanguageModel:
        small = ("model.width=16", "model.depth=2")
        words = tuple(word for override in overrides for word in override.split())
        torch.manual_seed(0)
        return build(composed(words[:1] + small + words[1:]), vocabulary=vocabulary, context=context).to(dtype).eval()

    return make
