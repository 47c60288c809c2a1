"""A training configuration as one typed value: plain sections as dataclasses, parts that are built as their nodes."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from lmlab.config.check import check_arguments
from lmlab.config.nodes import Config, Paths, at
from lmlab.config.overrides import written
from lmlab.errors import UserError, check_least, nearest
from lmlab.metrics import is_averaged
from lmlab.surroundings import expanded

Section = TypeVar("Section")

MOST_TOKENS_PER_STEP = 2**40
"""Limit of tokens in a step: above any known run, and small enough for 64-bit arithmetic."""

SCORED_PER_TRAINED = 2
"""Tokens that are scored in the time of training on one token; measured values are 2.3 to 3."""

CHECKPOINTS = ("final", "best", "ema")
"""Weights of a run that are separate files."""

EMA = "lmlab.training.callbacks.EMA"
"""The callback that keeps a moving average of the weights."""


def _at_least(least: int, **options: int | float | None) -> None:
    for option, value in options.items():
        if value is not None and value < least:
            raise UserError(f"{option.replace('__', '.')}={value}: expected a whole number of at least {least}")


@dataclass(frozen=True)
class Batch:
    """Section ``batch``: ``size`` sequences of ``context`` tokens in an optimizer step, over all devices."""

    size: int
    context: int
    carry_state: bool = False
    documents: Literal["packed", "separate"] = "packed"

    def __post_init__(self) -> None:
        _at_least(1, batch__size=self.size, batch__context=self.context)
        if self.separate and self.carry_state:
            raise UserError(
                "batch.documents=separate: not with batch.carry_state=true, which carries the state from document to "
                "document (leave one of them out)"
            )
        if self.size * self.context > MOST_TOKENS_PER_STEP:
            option = f"batch.size={self.size}" if self.size > self.context else f"batch.context={self.context}"
            raise UserError(f"{option}: expected an optimizer step of at most {MOST_TOKENS_PER_STEP:,} tokens")

    @property
    def tokens(self) -> int:
        """Return the tokens that all devices together read in one optimizer step."""
        return self.size * self.context

    @property
    def separate(self) -> bool:
        """Return whether every document is read by itself."""
        return self.documents == "separate"


@dataclass(frozen=True)
class Budget:
    """Section ``budget``: the number of tokens of training. A whole number may be written as 1e6."""

    tokens: int | float

    def __post_init__(self) -> None:
        if isinstance(self.tokens, float) and not self.tokens.is_integer():
            raise UserError(f"budget.tokens={self.tokens}: expected a whole number")
        object.__setattr__(self, "tokens", int(self.tokens))
        _at_least(1, budget__tokens=self.tokens)


@dataclass(frozen=True)
class Validation:
    """Section ``validation``: at most ``times`` in a run, evenly spaced, on the first ``tokens`` or (``None``) all.

    All but the last score a part of these, for which they together take the ``share`` of the training's operations, or
    (``None``) all.
    """

    times: int
    tokens: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        _at_least(1, validation__times=self.times, validation__tokens=self.tokens)
        if self.share is not None and not 0 < self.share <= 1:
            raise UserError(f"validation.share={self.share}: expected a number above 0 and at most 1, or null for all")


@dataclass(frozen=True)
class Start:
    """Section ``start``: a finished run with whose weights, and optimizer state, another run begins.

    Args:
        run: the parent: a directory, or the start of an id; in a saved configuration its identity. ``None``: no parent;
            weights are drawn at random.
        checkpoint: ``final``, ``best``, ``ema``, or the step of a checkpoint.
        optimizer: also begin with the state of the parent's optimizer.
        embeddings: ``overlap``: if the parent has another tokenizer, begin with its embeddings of the tokens that both
            have; ``None``: both must have the same tokenizer.
        directory: location of the parent; filled in.
    """

    run: str | None = None
    checkpoint: str = "final"
    optimizer: bool = False
    embeddings: Literal["overlap"] | None = None
    directory: str | None = None

    def __post_init__(self) -> None:
        usual = {"checkpoint": "final", "optimizer": False, "embeddings": None}
        for option, value in usual.items():
            if self.run is None and getattr(self, option) != value:
                raise UserError(
                    f"start.{option}={written(getattr(self, option))}: needs start.run=..., the run to begin with"
                )
        if self.checkpoint not in CHECKPOINTS and not self.checkpoint.isdecimal():
            choices = [*CHECKPOINTS, "the step of a checkpoint"]
            raise UserError(f"start.checkpoint={self.checkpoint}: unknown{nearest(self.checkpoint, choices)}")
        if self.optimizer and self.checkpoint in ("best", "ema"):
            raise UserError(
                f"start.optimizer=true: there is no optimizer state with start.checkpoint={self.checkpoint} "
                "(choose final, or the step of a checkpoint)"
            )
        if self.optimizer and self.embeddings is not None:
            raise UserError(
                f"start.embeddings={self.embeddings}: not with start.optimizer=true, whose state belongs to the "
                "parent's tokens"
            )

    def of_parent(self, run: str, directory: Path | str) -> Config:
        """Return the section of a configuration with the parent's identity and location filled in."""
        return {
            "run": run,
            "checkpoint": self.checkpoint,
            "optimizer": self.optimizer,
            "embeddings": self.embeddings,
            "directory": str(directory),
        }


@dataclass(frozen=True)
class Execution:
    """Section ``execution``: supervision of a run's processes.

    Args:
        restarts: number of automatic restarts after a process died, hung or diverged from the other ranks.
        grace: seconds that a run has to write its state after a stop request, before its processes are killed.
        requeue: under SLURM, requeue the job after a stop request.
        rendezvous: ``host:port`` of the first of several nodes; ``None``: from SLURM's environment.
        node: the number of this node.
    """

    restarts: int = 1
    grace: float = 60.0
    requeue: bool = True
    rendezvous: str | None = None
    node: int = 0

    def __post_init__(self) -> None:
        check_least(0, "execution.", restarts=self.restarts, grace=self.grace, node=self.node)
        if self.rendezvous is not None and not re.fullmatch(r"[^:\s]+:\d+", self.rendezvous):
            raise UserError(f"execution.rendezvous={self.rendezvous}: expected host:port, for example node1:29500")


@dataclass(frozen=True)
class TrainerOptions:
    """Section ``trainer``: the options that lmlab itself reads; :func:`lmlab.training.trainer.build_trainer` has them.

    Attributes:
        node: the whole section, from which the trainer is built.
    """

    node: Config = field(repr=False)
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    accumulate: int = 1
    gradient_clip: float | None = 1.0
    compile: bool = False
    tensor_parallel: int = 1
    activation_checkpointing: bool = False
    threads: int | None = None
    out_of_memory: str = "halve"

    @classmethod
    def of(cls, node: Config) -> Self:
        """Read a section; options that it lacks have their defaults."""
        return cls(node, **{one.name: node[one.name] for one in fields(cls)[1:] if one.name in node})

    @property
    def ranks(self) -> int:
        """Return the number of processes, one for each device of all nodes."""
        return self.devices * self.nodes

    @property
    def shares(self) -> int:
        """Return the number of parts of a batch: ranks that share the work of each layer read the same rows."""
        return self.ranks // self.tensor_parallel


@dataclass(frozen=True)
class Folders:
    """Section ``paths`` of every command: all outputs, runs among them, the cache, and (or ``None``) corpora."""

    outputs: Path
    runs: Path
    cache: Path
    corpora: Path | None

    @classmethod
    def of(cls, paths: Paths) -> Self:
        """Read the section of a composed or saved configuration."""
        outputs, runs, cache = (expanded(paths[name]) for name in ("outputs", "runs", "cache"))
        corpora = paths.get("corpora")
        return cls(outputs, runs, cache, expanded(corpora) if corpora else None)

    @classmethod
    def below(cls, outputs: Path) -> Self:
        """Return the folders below an outputs folder that ``conf/app.yaml`` composes, without corpora."""
        return cls(outputs, outputs / "runs", outputs / "cache", corpora=None)

    @property
    def sweeps(self) -> Path:
        """Return the folder of sweeps."""
        return self.outputs / "sweeps"

    @property
    def reports(self) -> Path:
        """Return the folder of reports."""
        return self.outputs / "reports"


@dataclass(frozen=True)
class Experiment:
    """A composed configuration of a run, and values derived from it.

    Attributes:
        config: the composed configuration, which the run directory saves and from which its identity follows.
        model, data, tokenizer, objective, optimizer, scheduler: nodes: ``_target_`` and its options, for
            :func:`lmlab.config.build.build`.
        callbacks, loggers: nodes by name, without those that are switched off.
        checksum: checksum of the user's own text; ``None`` if the data are none.
        tokens_per_step: mean number of tokens that a step reads, known once the data are open; ``None``:
            ``batch.tokens``.
    """

    config: Config = field(repr=False)
    name: str
    seed: int
    log_every: int
    progress: bool
    batch: Batch
    budget: Budget
    validation: Validation
    start: Start
    execution: Execution
    trainer: TrainerOptions
    paths: Folders
    model: Config
    data: Config
    tokenizer: Config
    objective: Config
    optimizer: Config
    scheduler: Config
    callbacks: Mapping[str, Config]
    loggers: Mapping[str, Config]
    checksum: str | None
    tokens_per_step: float | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Read a composed or saved configuration. Sections that an earlier version lacked have their defaults.

        Raises:
            UserError: an unknown option of a plain section, a wrong type or a value out of range.
        """
        seed, log_every = config.get("seed", 1), config.get("log_every", 1)
        _at_least(0, seed=seed)
        _at_least(1, log_every=log_every)
        parts = ("model", "data", "tokenizer", "objective", "optimizer", "scheduler")
        return cls(
            config=config,
            name=config.get("name", ""),
            seed=seed,
            log_every=log_every,
            progress=bool(config.get("progress")),
            batch=section_of(config, "batch", Batch),
            budget=section_of(config, "budget", Budget),
            validation=section_of(config, "validation", Validation),
            start=section_of(config, "start", Start),
            execution=section_of(config, "execution", Execution),
            trainer=TrainerOptions.of(config.get("trainer") or {}),
            paths=Folders.of(config["paths"]),
            **{name: config.get(name) or {} for name in parts},
            callbacks=dict(_switched_on(config.get("callbacks"))),
            loggers=dict(_switched_on(config.get("logger"))),
            checksum=at(config, "content.data"),
            tokens_per_step=None,
        )

    def with_options(self, **sections: Any) -> "Experiment":
        """Return a copy with other sections of the configuration."""
        return Experiment.of(self.config | sections)

    @property
    def steps(self) -> int:
        """Return the optimizer steps of the run: the token budget, rounded up to whole steps."""
        return math.ceil(self.budget.tokens / (self.tokens_per_step or self.batch.tokens))

    @property
    def validation_interval(self) -> int:
        """Return the optimizer steps between validations."""
        return math.ceil(self.steps / self.validation.times)

    @property
    def validation_part(self) -> int | None:
        """Return the tokens that each validation but the last scores; ``None``: all.

        Training on a token is assumed to take twice as long as scoring one; measured ratios are two to three.
        """
        if self.validation.share is None:
            return None
        before_last = math.ceil(self.steps / self.validation_interval) - 1
        trained = self.steps * (self.tokens_per_step or self.batch.tokens)
        return int(SCORED_PER_TRAINED * self.validation.share * trained / max(1, before_last))

    @property
    def keeps_average(self) -> bool:
        """Return whether the run keeps a moving average of the weights (``callbacks=ema``)."""
        return any(node.get("_target_") == EMA for node in self.callbacks.values())

    def check_averaged(self, option: str, metric: str) -> None:
        """Refuse a metric of averaged weights if none are kept. Raises ``UserError`` that names ``option``."""
        if is_averaged(metric) and not self.keeps_average:
            raise UserError(f"{option}: metrics of averaged weights need callbacks=ema")


def section_of(config: Config, name: str, kind: type[Section]) -> Section:
    """Return a plain section as a dataclass. Raises ``UserError`` for an unknown option or a wrong value."""
    section = config.get(name) or {}
    check_arguments(kind, section, f"{name}.")
    return kind(**section)


def _switched_on(group: Mapping[str, Config] | None) -> Iterator[tuple[str, Config]]:
    return ((key, node) for key, node in (group or {}).items() if node)
