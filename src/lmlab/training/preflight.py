"""Everything that can be refused is refused before a run directory exists or a process starts."""

from pathlib import Path
from typing import cast

import torch

from lmlab.config import Config, build, validate
from lmlab.data.order import TrainingOrder
from lmlab.data.shards import TokenizedCorpus, prepare
from lmlab.errors import UserError
from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import grows_with_context
from lmlab.training.settings import Settings
from lmlab.training.trainer import check_devices

LIGHT_SECTIONS = ("model", "data", "tokenizer", "objective", "optimizer", "scheduler", "trainer")
"""Sections whose targets need no Lightning; the others are held against their signatures by the worker."""


def check(config: Config) -> TokenizedCorpus:
    """Refuse a configuration that cannot be trained, and return its tokenised corpus.

    The corpus is found, checked and tokenised here (once: it is cached), the network is built without memory.

    Raises:
        UserError: with the option that is wrong.
    """
    for section in LIGHT_SECTIONS:
        if "_target_" not in config[section]:
            raise UserError(f"{section}: nothing is chosen, give an option as {section}=...")
        validate(config[section], section)
    settings = Settings.of(config)
    check_devices(config["trainer"], settings.batch.size)
    check_objects(config, settings)
    corpus = open_corpus(config, config["progress"])
    training_order(config, corpus)
    return corpus


def check_objects(config: Config, settings: Settings) -> None:
    """Build all that needs no data, the network without memory and for a made-up vocabulary. Raises ``UserError``."""
    with torch.device("meta"):
        model = build(config["model"], vocabulary=2, context=settings.batch.context)
    build(config["objective"])
    build(config["optimizer"])(model)
    build(config["scheduler"])(0, settings.steps)
    if settings.batch.carry_state:
        if config["trainer"]["accumulate"] > 1:
            raise UserError(
                "trainer.accumulate: must be 1 with batch.carry_state=true, each row has one state to carry"
            )
        if grows_with_context(model):
            raise UserError(
                "batch.carry_state=true: only for recurrent models; the state of this one grows with every token"
            )


def open_corpus(config: Config, progress: bool = False) -> TokenizedCorpus:
    """Return the tokenised corpus of a configuration, from the cache where it was prepared before."""
    paths = config["paths"]
    corpora = paths["corpora"]
    return prepare(
        build(config["data"]),
        build(config["tokenizer"]),
        Path(paths["cache"]),
        Path(corpora).expanduser() if corpora else None,
        progress=progress,
    )


def build_model(config: Config, corpus: TokenizedCorpus) -> LanguageModel:
    """Return the network of a configuration, on the default device."""
    model = build(config["model"], vocabulary=corpus.tokenizer.size, context=config["batch"]["context"])
    return cast(LanguageModel, model)


def training_order(config: Config, corpus: TokenizedCorpus) -> TrainingOrder:
    """Return which tokens every training batch holds. Raises ``UserError`` if the corpus is too short for it."""
    settings = Settings.of(config)
    return TrainingOrder(
        corpus.tokens("train"),
        seed=settings.seed,
        batch_size=settings.batch.size,
        context=settings.batch.context,
        order="contiguous" if settings.batch.carry_state else "shuffled",
    )


def tokens_per_byte(corpus: TokenizedCorpus, split: str, first: int | None = None) -> float:
    """Tokens of a split per byte of its text as UTF-8: what turns a loss per token into one per byte.

    Args:
        first: of the first so many tokens and their part of the text, which is their part of what the tokens decode to;
            ``None``: of the whole split.
    """
    tokens = corpus.count(split)
    if first is None or first >= tokens:
        return tokens / corpus.bytes(split)
    ids = corpus.tokens(split)[1:]
    part, whole = (len(corpus.tokenizer.decode(some).encode()) for some in (ids[:first], ids))
    return first / (corpus.bytes(split) * part / whole)
