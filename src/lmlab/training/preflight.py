"""Everything that can be refused is refused before a run directory exists or a process starts."""

import math
from pathlib import Path
from typing import Any

import torch

from lmlab.config import Config, build, validate
from lmlab.data.order import TrainingOrder
from lmlab.data.shards import TokenizedCorpus, prepare
from lmlab.errors import UserError
from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import grows_with_context
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
        validate(config[section], section)
    check_numbers(config)
    trainer = config["trainer"]
    check_devices(
        *(trainer[key] for key in ("accelerator", "devices", "strategy", "precision", "accumulate")),
        batch_size=config["batch"]["size"],
    )
    corpus = open_corpus(config, config["progress"])
    with torch.device("meta"):
        model = build_model(config, corpus)
    build(config["objective"])
    build(config["scheduler"])
    build(config["optimizer"])(model)
    training_order(config, corpus)
    if config["batch"]["carry_state"] and trainer["accumulate"] > 1:
        raise UserError("trainer.accumulate: must be 1 with batch.carry_state=true, each row has one state to carry")
    if config["batch"]["carry_state"] and grows_with_context(model):
        raise UserError(
            "batch.carry_state=true: only for recurrent models; the state of this one grows with every token it carries"
        )
    return corpus


def check_numbers(config: Config) -> None:
    """Hold the plain numbers of the configuration against their types and ranges. Raises ``UserError``."""
    for key, least in (
        ("batch.size", 1),
        ("batch.context", 1),
        ("budget.tokens", 1),
        ("validation.times", 1),
        ("log_every", 1),
        ("seed", 0),
    ):
        value: Any = config
        for part in key.split("."):
            value = value[part]
        if isinstance(value, float) and value.is_integer() and key == "budget.tokens":
            config["budget"]["tokens"] = value = int(value)  # 1e6 is how people write a million
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{key}={value}: expected a whole number of at least {least}")
    for key, kind, readable in (("batch.carry_state", bool, "true or false"), ("progress", bool, "true or false")):
        value = config["batch"]["carry_state"] if key == "batch.carry_state" else config["progress"]
        if not isinstance(value, kind):
            raise UserError(f"{key}={value}: expected {readable}")
    tokens = config["validation"]["tokens"]
    if tokens is not None and (not isinstance(tokens, int) or tokens < 1):
        raise UserError(f"validation.tokens={tokens}: expected a whole number of at least 1, or null")


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
    assert isinstance(model, LanguageModel)
    return model


def training_order(config: Config, corpus: TokenizedCorpus) -> TrainingOrder:
    """Return which tokens every training batch holds. Raises ``UserError`` if the corpus is too short for it."""
    batch = config["batch"]
    return TrainingOrder(
        corpus.tokens("train"),
        seed=config["seed"],
        batch_size=batch["size"],
        context=batch["context"],
        order="contiguous" if batch["carry_state"] else "shuffled",
    )


def total_steps(config: Config) -> int:
    """Optimizer steps in a run: the token budget, rounded up to whole steps."""
    return math.ceil(config["budget"]["tokens"] / tokens_per_step(config))


def tokens_per_step(config: Config) -> int:
    """Tokens that all devices together read in one optimizer step."""
    return int(config["batch"]["size"] * config["batch"]["context"])


def tokens_per_byte(corpus: TokenizedCorpus, split: str) -> float:
    """Tokens of a split per byte of its text as UTF-8: what turns a loss per token into one per byte."""
    return corpus.count(split) / corpus.bytes(split)
