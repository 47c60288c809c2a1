"""Small models of every architecture that the files under conf/ compose to."""

from collections.abc import Callable

import pytest
import torch
from model_sections import model_section

from lmlab.config.build import build
from lmlab.config.options import options_of
from lmlab.models.language_model import LanguageModel

VOCABULARY, CONTEXT = 13, 24


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """The same random weights and inputs in every order of the tests."""
    torch.manual_seed(0)


def each(group: str, base: str) -> list[str]:
    return [f"{base} {group}={option}" for option in options_of(group)]


PRENORM = "model=custom block=prenorm channel=mlp"
ARCHITECTURES = [
    *(f"model={model}" for model in options_of("model")),
    *each("mixer", PRENORM),
    *each("mixer", "model=custom channel=none block=classic"),
    *each("channel", "model=custom block=prenorm mixer=attention"),
    *each("block", "model=custom channel=none mixer=rotary_attention"),
    *each("head", f"{PRENORM} mixer=lstm"),
    "model=transformer model.ngrams=[40,300,50]",
    *(
        f"{PRENORM} mixer=lstm block={block} model.block.token_shift=0.3"
        for block in ("prenorm", "postnorm", "parallel")
    ),
]
"""Every model as it is shipped, every mixer in two blocks, and every other part in one model."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "architecture" in metafunc.fixturenames:
        metafunc.parametrize("architecture", ARCHITECTURES)
    if "shipped" in metafunc.fixturenames:
        metafunc.parametrize("shipped", [f"model={model}" for model in options_of("model")])


@pytest.fixture(scope="session")
def make_model() -> Callable[..., LanguageModel]:
    """Build the model of some overrides (of width 16 and depth 2 unless they say otherwise), in evaluation mode."""

    def make(
        *overrides: str, vocabulary: int = VOCABULARY, context: int = CONTEXT, dtype: torch.dtype = torch.float32
    ) -> LanguageModel:
        small = ("model.width=16", "model.depth=2")
        words = tuple(word for override in overrides for word in override.split())
        torch.manual_seed(0)
        section = model_section(*words[:1], *small, *words[1:])
        return build(section, vocabulary=vocabulary, context=context).to(dtype).eval()

    return make
