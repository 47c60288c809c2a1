"""Everything that can be refused is refused before a run directory exists or a process starts."""

from pathlib import Path
from typing import cast

from lmlab.config import Config, build
from lmlab.data.corpora import Corpus
from lmlab.data.order import TrainingOrder
from lmlab.data.shards import TokenizedCorpus, find_prepared, prepare
from lmlab.data.source import CorpusSource, Source
from lmlab.data.synthetic.source import TaskSource
from lmlab.data.synthetic.task import Task
from lmlab.data.tokenizers import Symbols, Tokenizer
from lmlab.errors import UserError
from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import grows_with_context
from lmlab.models.without_memory import without_memory
from lmlab.runs.run import Run
from lmlab.surroundings import expanded
from lmlab.training import parallel, sizing
from lmlab.training.make_optimizer import make_optimizer
from lmlab.training.objectives import Objective
from lmlab.training.sections import check_chosen, check_schedule, check_sections, numbers_of
from lmlab.training.settings import Settings
from lmlab.training.trainer import check_devices

LIGHT_SECTIONS = ("model", "data", "tokenizer", "objective", "optimizer", "scheduler", "trainer")
"""Sections whose targets need no Lightning; the others are held against their signatures by the worker."""


def check(config: Config, here: bool = True, run: Run | None = None) -> Source:
    """Refuse a configuration that cannot be trained, and return what it trains on.

    A corpus is found, checked and tokenised here (once: it is cached), the network is built without memory.

    Args:
        here: it is this machine that trains, with its devices.
        run: one that has begun with these data.

    Raises:
        UserError: with the option that is wrong.
    """
    model = check_options(config, here)
    with numbers_of(config, "batch", "data", "validation"):
        source = open_source(config, config["progress"], run)
    if model.max_positions is not None and source.longest > model.max_positions:
        raise UserError(
            f"data.longer: sequences of {source.longest} tokens are scored, but the positions of this model end at "
            f"batch.context={model.max_positions} (choose data.longer=null, or a model without learned positions)"
        )
    return source


def check_options(config: Config, here: bool = True) -> LanguageModel:
    """Refuse whatever can be refused without data, and return the network as :func:`check_objects` does.

    Args:
        here: it is this machine that trains, with its devices.

    Raises:
        UserError: with the option that is wrong.
    """
    settings = check_sections(config)
    check_devices(config["trainer"], here)
    for section in LIGHT_SECTIONS:
        check_chosen(config, section)
    return check_objects(config, settings)


def check_objects(config: Config, settings: Settings) -> LanguageModel:
    """Build all that needs no data, and return the network without memory and for a made-up vocabulary.

    Raises:
        UserError: with the option that is wrong.
    """
    with numbers_of(config, "model", "batch.context"), without_memory():
        node = sizing.without_size(config["model"], vocabulary=2, context=settings.batch.context)
        model = build(node, vocabulary=2, context=settings.batch.context)
    with numbers_of(config, "objective"):
        _check_objective(build(config["objective"]), config["objective"]["_target_"])
    with numbers_of(config, "optimizer"):
        optimizer = make_optimizer(config["optimizer"], model)
    parallel.check(model, optimizer, config["trainer"], settings.batch.carry_state)
    check_schedule(config, settings)
    if settings.batch.carry_state:
        if config["trainer"]["accumulate"] > 1:
            raise UserError(
                "trainer.accumulate: must be 1 with batch.carry_state=true, each row has one state to carry"
            )
        if grows_with_context(model):
            endless = model.max_positions is None
            why = "the state of this one grows with every token" if endless else "the positions of this one end"
            raise UserError(f"batch.carry_state=true: only for recurrent models; {why}")
    return cast(LanguageModel, model)


def _check_data(data: object, target: str) -> None:
    """Refuse what is neither a corpus nor a task, or has no name. Raises ``UserError``."""
    option = f"data._target_={target}"
    if not isinstance(data, (Corpus, Task)):
        raise UserError(f"{option}: expected a subclass of lmlab.data.corpora.Corpus or lmlab.data.synthetic.Task")
    needed = ("name", "licence") if isinstance(data, Corpus) else ("name", "vocabulary")
    if missing := [name for name in needed if not hasattr(data, name)]:
        raise UserError(f"{option}: lacks {' and '.join(missing)}, which it has to define")


def _check_objective(objective: object, target: str) -> None:
    """Refuse what is no objective. Raises ``UserError``."""
    if not isinstance(objective, Objective):
        raise UserError(
            f"objective._target_={target}: expected a subclass of lmlab.training.objectives.Objective, which defines "
            "terms(model, batch)"
        )


def open_source(config: Config, progress: bool = False, run: Run | None = None, download: bool = True) -> Source:
    """Return what a configuration trains on: its corpus, tokenised once and cached, or its generated task.

    Args:
        run: one that has begun with these data; where its tokens lie prepared, their text is not needed.
        download: false: refuse to download a corpus.

    Raises:
        UserError: the text or the task does not suit the tokenizer or the batch.
    """
    data, tokenizer, settings = build(config["data"]), build(config["tokenizer"]), Settings.of(config)
    _check_data(data, config["data"]["_target_"])
    if isinstance(data, Task):
        if not isinstance(tokenizer, Symbols):
            raise UserError(
                f"tokenizer: {data.name} is a generated task, whose symbols need no tokenizer (leave it at symbols)"
            )
        if settings.batch.carry_state:
            raise UserError(f"batch.carry_state=true: the sequences of {data.name} do not go on in the next batch")
        if tokenizer.fitted and tokenizer.size != data.vocabulary:
            raise UserError(f"tokenizer.size={tokenizer.size}: {data.name} has {data.vocabulary} symbols")
        symbols = Symbols(data.vocabulary)
        return TaskSource(
            data, symbols, settings.seed, settings.batch.size, settings.batch.context, settings.validation.tokens
        )
    paths = config["paths"]
    corpora, cache = expanded(paths["corpora"]) if paths["corpora"] else None, Path(paths["cache"])
    corpus = None if run is None else _prepared(run, cache, type(tokenizer))
    if corpus is None:
        recorded = config.get("content", {}).get("data")
        if recorded is not None and (now := data.checksum(cache)) != recorded:
            raise UserError(f"data.paths: the text has changed (SHA-256 {recorded[:12]} then, {now[:12]} now)")
        if run is None:  # a run of an earlier version may have had such options
            data.check()
        data.download = download
        corpus = prepare(data, tokenizer, cache, corpora, progress=progress)
    order = TrainingOrder(
        corpus.tokens("train"),
        seed=settings.seed,
        batch_size=settings.batch.size,
        context=settings.batch.context,
        order="contiguous" if settings.batch.carry_state else "shuffled",
    )
    return CorpusSource(corpus, order, settings.validation.tokens)


def _prepared(run: Run, cache: Path, kind: type[Tokenizer]) -> TokenizedCorpus | None:
    """Return the tokens that a run has begun with, from ``cache`` or the one beside the run."""
    fingerprint = run.manifest.get("data", {}).get("fingerprint")
    return fingerprint and find_prepared(fingerprint, (cache, run.path.absolute().parents[1] / "cache"), kind)


def build_model(config: Config, source: Source) -> LanguageModel:
    """Return the network of a configuration, on the default device."""
    model = build(config["model"], vocabulary=source.tokenizer.size, context=config["batch"]["context"])
    return cast(LanguageModel, model)
