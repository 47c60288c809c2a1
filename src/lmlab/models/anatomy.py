"""The parts of a model with their shapes and parameters, and parameter counts by kind of part."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lmlab.models.language_model import LanguageModel


@dataclass
class Part:
    """A module or parameter, with its own parts.

    Attributes:
        name: name of the attribute that holds the part.
        kind: class of the part; empty for a parameter.
        shape: input and output sizes of a layer, or the shape of a parameter.
        options: numbers and texts that the part was constructed with.
        parameters: number of parameters, including nested parts, excluding parameters counted earlier.
        tied: the part has a matrix that was counted earlier.
        times: number of consecutive equal parts; ``parameters`` counts one of them.
        parts: nested parts; empty if the shape describes the part fully or it equals an earlier part.
        same_as: name of the earlier part that it equals.
    """

    name: str
    kind: str
    shape: str
    options: dict[str, Any]
    parameters: int
    tied: bool = False
    times: int = 1
    parts: list["Part"] = field(default_factory=list)
    same_as: str | None = None


def parts_of(model: nn.Module) -> Part:
    """Return the tree of parts of ``model``: those with parameters, in order of construction."""
    return _part("model", model, set())


def parameters_by_kind(model: LanguageModel) -> dict[str, int]:
    """Return how many parameters are in which kind of part; a shared one counts for the first of its owners.

    ``norms`` are the norms between mixers; a norm inside a mixer counts for the mixer. In a model without blocks like
    ours, all parameters outside the embedding, head and norms are ``other``.
    """
    owners: list[tuple[str, Any]] = [
        ("embedding", model.embedding),
        ("embedding", model.position_embedding),
        ("embedding", model.ngrams),
    ]
    for block in model.blocks:  # an own block need not have a channel mixer
        owners += [("sequence mixers", block.mixer), ("channel mixers", getattr(block, "channel", None))]
    owners.append(("head", model.head))
    owners += [("norms", module) for name, module in model.named_modules() if name.endswith("norm")]
    owners.append(("other", model))
    counted: set[int] = set()
    counts = dict.fromkeys(("embedding", "sequence mixers", "channel mixers", "norms", "head", "other"), 0)
    for kind, owner in owners:
        counts[kind] += _count(owner.parameters() if owner is not None else (), counted)
    return counts if counts["other"] else {kind: count for kind, count in counts.items() if kind != "other"}


def _count(parameters: Iterable[Tensor], counted: set[int]) -> int:
    """Return the number of entries of the tensors that are not in ``counted``, and add these tensors to it."""
    new = {id(parameter): parameter.numel() for parameter in parameters if id(parameter) not in counted}
    counted.update(new)
    return sum(new.values())


def _part(name: str, module: nn.Module, counted: set[int]) -> Part:
    shape = _shape(module)
    own = list(module.parameters(recurse=False))
    tied = any(id(parameter) in counted for parameter in own)
    parameters = _count(own, counted) if shape else 0
    part = Part(name, type(module).__name__, shape, _options(module), parameters, tied)
    if not shape:
        for own_name, parameter in module.named_parameters(recurse=False):
            tied = id(parameter) in counted
            part.parts.append(Part(own_name, "", _times(parameter.shape), {}, _count([parameter], counted), tied))
    first: dict[Any, str] = {}  # of each kind of part in a list of modules
    for named, child, times in _children(module):
        part_of_child = _part(named, child, counted)
        part_of_child.times = times
        if isinstance(module, nn.ModuleList):
            same = first.setdefault(signature(child), named)
            if same != named:
                part_of_child.same_as, part_of_child.parts = same, []
        part.parts.append(part_of_child)
        part.parameters += part_of_child.parameters * (times - 1)
    part.parameters += sum(part_of_child.parameters for part_of_child in part.parts)
    return part


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """Yield name, module and number of equal successors of the modules in ``module`` that have parameters."""
    children = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
    if not isinstance(module, nn.ModuleList):
        yield from ((name, child, 1) for name, child in children)
        return
    while children:
        name, child = children[0]
        alike = signature(child)
        times = next((i for i, (_, other) in enumerate(children) if signature(other) != alike), len(children))
        yield (name if times == 1 else f"{name} to {children[times - 1][0]}"), child, times
        children = children[times:]


def signature(module: nn.Module) -> Any:
    """Return a value that is equal for two modules that are constructed alike."""
    shapes = tuple((name, tuple(parameter.shape)) for name, parameter in module.named_parameters(recurse=False))
    options = tuple(sorted((name, str(value)) for name, value in _plain(module).items()))
    children = tuple((name, signature(child)) for name, child in module.named_children())
    return (type(module), options, shapes, children)


def _plain(module: nn.Module) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, (bool, int, float, str)) and name != "training" and not name.startswith("_")
    }


def _options(module: nn.Module) -> dict[str, Any]:
    """Return the numbers and texts among a module's attributes; none for torch's own modules."""
    return {} if type(module).__module__.partition(".")[0] == "torch" else _plain(module)


def _shape(module: nn.Module) -> str:
    """Return the sizes of a layer that they describe fully; empty for other modules."""
    if isinstance(module, nn.Linear):
        return f"{module.in_features:,} -> {module.out_features:,}" + (" + bias" if module.bias is not None else "")
    if isinstance(module, nn.Embedding):
        return f"{module.num_embeddings:,} x {module.embedding_dim:,}"
    if isinstance(module, nn.RNNBase):
        return f"{module.input_size:,} -> {module.hidden_size:,}"
    parameters = list(module.parameters(recurse=False))
    if len(parameters) == 1 and not list(module.children()):
        return _times(parameters[0].shape)
    return ""


def _times(shape: Iterable[int]) -> str:
    return " x ".join(f"{size:,}" for size in shape) or "1"
