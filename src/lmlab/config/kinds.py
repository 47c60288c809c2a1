"""Kinds of components that a configuration selects: base classes, and parameters that the program supplies.

``docs/extend.md`` has a worked example of each. Base classes are named, not imported, so this module imports nothing
heavy.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A group of ``conf/`` whose options name a class or function as ``_target_``.

    Attributes:
        group: its name on a command line.
        base: base class of the objects that its options build; a description if any function is allowed.
        purpose: one line.
        supplied: parameters that the program supplies to a constructor that has them.
    """

    group: str
    base: str
    purpose: str
    supplied: tuple[str, ...] = ()


KINDS = (
    Kind(
        "model",
        "lmlab.models.language_model.LanguageModel",
        "the network: a stack of blocks and a head",
        ("vocabulary", "context"),
    ),
    Kind("mixer", "lmlab.models.mixers.mixer.Mixer", "mixes positions: a recurrence or attention", ("width",)),
    Kind("channel", "lmlab.models.channels.channel.Channel", "mixes the channels of each position", ("width",)),
    Kind(
        "block",
        "lmlab.models.block.Block",
        "a mixer and a channel mixer, with norms and residual stream",
        ("width", "mixer", "channel", "norm", "dropout"),
    ),
    Kind(
        "head",
        "lmlab.models.heads.head.Head",
        "from hidden vectors to probabilities",
        ("width", "vocabulary", "embedding"),
    ),
    Kind("data", "lmlab.data.dataset.Dataset", "training data, and the metrics of a task"),
    Kind("tokenizer", "lmlab.data.tokenizers.Tokenizer", "between text and tokens"),
    Kind("objective", "lmlab.training.objectives.Objective", "the loss of a batch"),
    Kind("optimizer", "torch.optim.Optimizer", "called with the network", ("model",)),
    Kind("scheduler", "lmlab.training.schedules.Schedule", "the factor on the learning rate"),
    Kind(
        "callbacks",
        "pytorch_lightning.Callback",
        "acts while a run is trained",
        ("run", "folder", "tokenizer", "context"),
    ),
    Kind("logger", "pytorch_lightning.loggers.Logger", "where metrics go, besides the run's directory", ("run",)),
    Kind("trainer", "pytorch_lightning.Trainer", "devices, precision and distribution of the work", ("supplied",)),
    Kind(
        "sweep",
        "lmlab.sweeps.search.search.Search",
        "which jobs a sweep computes next",
        ("space", "folder", "measures"),
    ),
    Kind("hydra/launcher", "lmlab.sweeps.engines.engine.Engine", "where the jobs of a sweep are computed"),
)


def kind_of(group: str) -> Kind | None:
    """Return the kind with a group's name; ``None`` for a group of settings alone, like ``budget``."""
    return next((kind for kind in KINDS if kind.group == group), None)


def supplied_at(path: str) -> frozenset[str]:
    """Return the parameters that the program supplies to the target at a dotted path of a configuration."""
    top, _, rest = path.partition(".")
    part = rest.partition(".")[0].removesuffix("s")  # model.mixers holds the mixers of a pattern
    kind = (kind_of(part) if top == "model" and part else None) or kind_of(top)
    return frozenset(() if kind is None else kind.supplied)
