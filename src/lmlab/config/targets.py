"""Resolution of ``_target_``: permitted classes and functions, and their parameters.

A run directory may come from another user. A target is therefore called only if it is an option of lmlab, a module or
optimizer of torch, or defined in the user's own source files (see :mod:`lmlab.config.sources`). For a saved
configuration, :mod:`lmlab.runs.trust` decides whether the latter are run at all.
"""

import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lmlab.config import sources
from lmlab.config.sources import about
from lmlab.errors import UserError, first_line

OPTIONS = (
    "lmlab.models.",
    "lmlab.sweeps.engines.",
    "lmlab.sweeps.search.",
    "lmlab.data.cleaning.",
    "lmlab.data.corpora.",
    "lmlab.data.examples.",
    "lmlab.data.mixture",
    "lmlab.data.synthetic.",
    "lmlab.data.tokenizers.",
    "lmlab.training.callbacks.",
    "lmlab.training.devices",
    "lmlab.training.loggers.",
    "lmlab.training.objectives",
    "lmlab.training.optimizers.",
    "lmlab.training.schedules",
    "lmlab.training.trainer",
    "lmlab.wandb.logger",
)
"""Prefixes of lmlab's classes and functions that a configuration may name."""
TORCH = ("torch.nn.", "torch.optim.")
"""Packages of torch with the modules and optimizers that a configuration may name."""

_TORCH_BASES = frozenset({"torch.nn.modules.module.Module", "torch.optim.optimizer.Optimizer"})


def named_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of ``function`` that can be passed by name, without ``**kwargs``."""
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def targets(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield (target, node, dotted path) for every node that has a ``_target_``, outermost first.

    Raises:
        UserError: a node passes arguments by position.
    """
    if isinstance(node, Mapping):
        if "_args_" in node:
            raise UserError(f"{path}._args_: not allowed; give every argument by its name")
        if "_target_" in node:
            yield str(node["_target_"]), node, path
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}.{index}")


def own_targets(config: Any) -> dict[str, str]:
    """Return the targets that are neither lmlab's nor torch's, each with the first option that names it."""
    own: dict[str, str] = {}
    for target, _, where in targets(config):
        if target.partition(".")[0] not in ("lmlab", "torch"):
            own.setdefault(target, f"{where}._target_" if where else "_target_")
    return own


def check_own(target: str, option: str) -> None:
    """Refuse a target outside the user's own source files, without importing anything.

    Raises:
        UserError: the target belongs to the standard library or an installed package, or there is no such file.
    """
    module = target.rpartition(".")[0]
    if not module:
        raise UserError(f"{option}={target}: expected <module>.<class or function>")
    source = sources.find(module)
    has_file = source is not None and source.path.suffix == ".py"
    if (owner := sources.taken_by(module)) is not None:
        if not has_file:
            raise _not_allowed(target, option)
        top = module.partition(".")[0]
        raise UserError(f"{option}={target}: the name {top} is taken by {owner}; rename {source and source.path}")
    if not has_file:
        raise UserError(f"{option}={target}: not found; there is no module {module} in {sources.describe_roots()}")


def resolve_target(target: str, path: str) -> Callable[..., Any]:
    """Import and return the class or function of a ``_target_``, if it is allowed.

    Allowed are lmlab's options (``OPTIONS``), torch's modules, optimizers and schedules, and definitions in the user's
    own source files. A run directory from another user can therefore not name a function of the standard library or of
    another package. A module that is not allowed is not imported.

    Raises:
        UserError: the target cannot be found or imported, is not callable, or is not allowed.
    """
    option = f"{path}._target_"
    module, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    load: Callable[[str], Any] = importlib.import_module
    if package not in ("lmlab", "torch"):
        check_own(target, option)
        load = sources.load
    elif "__" in target or not target.startswith((*OPTIONS, *TORCH)):
        raise _not_allowed(target, option)
    try:
        target_object = getattr(load(module), name)
    except UserError as error:
        raise UserError(f"{option}={target}: {error}") from error
    except Exception as error:
        reason = first_line(error) + about(error)
        raise UserError(f"{option}={target}: cannot be imported ({reason})") from error
    if not callable(target_object):
        raise UserError(f"{option}={target}: expected a class or a function")
    # The defining module counts, not the module through which the object was imported.
    defined = str(getattr(target_object, "__module__", None) or "")
    package = defined.partition(".")[0]
    if package == "lmlab":
        allowed = defined.startswith(OPTIONS)
    elif package == "torch":
        bases = {f"{base.__module__}.{base.__name__}" for base in getattr(target_object, "__mro__", ())}
        allowed = not bases.isdisjoint(_TORCH_BASES)
    else:
        allowed = sources.taken_by(defined) is None and sources.find(defined) is not None
    if not allowed:
        raise _not_allowed(target, option)
    return typing.cast(Callable[..., Any], target_object)


def _not_allowed(target: str, option: str) -> UserError:
    return UserError(
        f"{option}={target}: not allowed; expected an option of lmlab, a module or optimizer of torch, or "
        "something defined in your own source files, in the working folder or that of --config-dir"
    )
