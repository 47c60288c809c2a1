"""Checks of a configuration before a run directory exists or a process starts."""

from typing import cast

from lmlab.config.build import build
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config
from lmlab.data.dataset import Dataset, Opening, Prepared
from lmlab.data.tasks import Task
from lmlab.data.tokenizers import load_tokenizer
from lmlab.errors import UserError
from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import grows_with_context, without_memory
from lmlab.runs.run import Run
from lmlab.training import parallel, sizing
from lmlab.training.objectives import Objective
from lmlab.training.optimizers.groups import make_optimizer
from lmlab.training.sections import check_choice, check_schedule, check_sections, numbers_of
from lmlab.training.trainer import check_devices

LIGHT_SECTIONS = ("model", "data", "tokenizer", "objective", "optimizer", "scheduler", "trainer")
"""Sections whose targets need no Lightning; the worker checks the others against their signatures."""


def check(config: Config, here: bool = True, run: Run | None = None) -> Task:
    """Refuse a configuration that cannot be trained, and return its task.

    A corpus is found, checked and tokenised here (and cached); the network is built without memory.

    Args:
        here: this machine trains, with its devices.
        run: a run that has started with these data.

    Raises:
        UserError: an option is wrong; the message names it.
    """
    experiment = Experiment.of(config)
    model = check_options(config, here)
    with numbers_of(config, "batch", "data", "validation"):
        task = open_task(experiment, experiment.progress, run)
    if model.max_positions is not None and task.longest > model.max_positions:
        raise UserError(
            f"data.longer: sequences of {task.longest} tokens are scored, but the positions of this model end at "
            f"batch.context={model.max_positions} (choose data.longer=null, or a model without learned positions)"
        )
    if experiment.trainer.strategy == "fsdp":  # every rank has a part of each layer, and all must call it together
        for judge in (judge for split in task.scored_splits for judge in task.judges(split)):
            if judge.generates:
                raise UserError(
                    f"trainer.strategy=fsdp: not with {judge.metrics[0].name}, for which the model writes answers "
                    "(choose ddp)"
                )
    return task


def check_options(config: Config, here: bool = True) -> LanguageModel:
    """Check all options that need no data, and return the network as :func:`check_objects` does.

    Args:
        here: this machine trains, with its devices.

    Raises:
        UserError: an option is wrong; the message names it.
    """
    experiment = check_sections(config)
    check_devices(experiment.trainer, here)
    for section in LIGHT_SECTIONS:
        check_choice(config, section)
    return check_objects(experiment)


def check_objects(experiment: Experiment) -> LanguageModel:
    """Build all objects that need no data, and return the network without memory and with a placeholder vocabulary.

    Raises:
        UserError: an option is wrong; the message names it.
    """
    config, context = experiment.config, experiment.batch.context
    with numbers_of(config, "model", "batch.context"), without_memory():
        node = sizing.without_size(experiment.model, vocabulary=2, context=context)
        model = build(node, vocabulary=2, context=context)
    with numbers_of(config, "objective"):
        _check_objective(build(experiment.objective), experiment.objective["_target_"])
    with numbers_of(config, "optimizer"):
        optimizer = make_optimizer(experiment.optimizer, model)
    parallel.check(model, optimizer, experiment.trainer, experiment.batch.carry_state)
    check_schedule(experiment)
    if experiment.batch.carry_state:
        if experiment.trainer.accumulate > 1:
            raise UserError(
                "trainer.accumulate: must be 1 with batch.carry_state=true, each row has one state to carry"
            )
        if grows_with_context(model):
            endless = model.max_positions is None
            why = "the state of this one grows with every token" if endless else "the positions of this one end"
            raise UserError(f"batch.carry_state=true: only for recurrent models; {why}")
    return cast(LanguageModel, model)


def check_dataset(data: object, target: str) -> None:
    """Refuse an object that is not a data set, or lacks a required attribute. Raises ``UserError``."""
    option = f"data._target_={target}"
    if not isinstance(data, Dataset):
        raise UserError(
            f"{option}: expected a subclass of lmlab.data.corpora.Corpus, lmlab.data.synthetic.Generator or "
            "lmlab.data.dataset.Dataset"
        )
    if missing := [name for name in data.required if not hasattr(data, name)]:
        raise UserError(f"{option}: lacks {' and '.join(missing)}, which it has to define")


def _check_objective(objective: object, target: str) -> None:
    """Refuse an object that is not an objective. Raises ``UserError``."""
    if not isinstance(objective, Objective):
        raise UserError(
            f"objective._target_={target}: expected a subclass of lmlab.training.objectives.Objective, which defines "
            "terms(model, batch)"
        )


def open_task(experiment: Experiment, progress: bool = False, run: Run | None = None, download: bool = True) -> Task:
    """Return the task of a configuration; text is tokenised once and cached.

    Args:
        run: a run that has started with these data; if its tokens are cached, their text is not needed.
        download: false: refuse to download a corpus.

    Raises:
        UserError: the data are missing, or do not fit the tokenizer or the batch.
    """
    return build_data(experiment).open(opening_of(experiment, progress, run, download))


def build_data(experiment: Experiment) -> Dataset:
    """Return the data set of a configuration. Raises ``UserError``: an option is wrong."""
    data = build(experiment.data)
    check_dataset(data, experiment.data["_target_"])
    return cast(Dataset, data)


def opening_of(
    experiment: Experiment, progress: bool = False, run: Run | None = None, download: bool = True
) -> Opening:
    """Return the settings for opening the data of a configuration (see :func:`open_task`)."""
    batch, cache = experiment.batch, experiment.paths.cache
    prepared = None
    if run is not None and (fingerprint := run.manifest.get("data", {}).get("fingerprint")):
        prepared = Prepared(fingerprint, (cache, run.path.absolute().parents[1] / "cache"))
    tokenizer = build(experiment.tokenizer)
    if tokenizer.fitted and run is not None and run.tokenizer.exists():  # the file that it names may be gone
        tokenizer = load_tokenizer(run.tokenizer, type(tokenizer))
    return Opening(
        tokenizer,
        experiment.seed,
        batch.size,
        batch.context,
        batch.carry_state,
        experiment.validation.tokens,
        cache,
        experiment.paths.corpora,
        progress,
        download,
        began=run is not None,
        prepared=prepared,
        checksum=experiment.checksum,
        separate=batch.separate,
    )


def build_model(experiment: Experiment, task: Task) -> LanguageModel:
    """Return the network of a configuration, on the default device."""
    model = build(experiment.model, vocabulary=task.tokenizer.size, context=experiment.batch.context)
    return cast(LanguageModel, model)
