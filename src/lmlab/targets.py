"""What a ``_target_`` may name, and which parameters it has.

A run directory may come from a stranger, so what its configuration names is called only if lmlab offers it as an
option, if it is a module or optimizer of torch, or if it is defined in the user's own source files.
"""

import importlib
import importlib.util
import inspect
import sys
import sysconfig
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lmlab.errors import UserError

OPTIONS = (
    "lmlab.models.",
    "lmlab.sweeps.engines.",
    "lmlab.sweeps.search.",
    "lmlab.data.corpora.",
    "lmlab.data.synthetic.",
    "lmlab.data.tokenizers.",
    "lmlab.training.callbacks.",
    "lmlab.training.devices",
    "lmlab.training.loggers.",
    "lmlab.training.objectives.",
    "lmlab.training.optimizers.",
    "lmlab.training.schedules",
    "lmlab.training.trainer",
)
"""Where lmlab defines what a configuration may name."""

_TORCH_BASES = frozenset(
    {"torch.nn.modules.module.Module", "torch.optim.optimizer.Optimizer", "torch.optim.lr_scheduler.LRScheduler"}
)
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


def named_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of ``function`` that can be given by name, but for ``**kwargs``."""
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def accepted(node: Mapping[str, Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is ``offered`` and the target of ``node`` has a parameter for."""
    wanted = named_parameters(resolve_target(node["_target_"], node["_target_"]))
    return {name: value for name, value in offered.items() if name in wanted}


def targets(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield (target, node, dotted path) for every node that has a ``_target_``, outermost first.

    Raises:
        UserError: a node gives arguments by position, which no signature names.
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


def resolve_target(target: str, path: str) -> Callable[..., Any]:
    """Import what a ``_target_`` names, if it may be called.

    Allowed are what lmlab offers as options (``OPTIONS``), torch's modules, optimizers and schedules, and what is
    defined in the user's own source files, outside the folders of the interpreter and of installed packages. A run
    directory from a stranger can therefore not name a function of the standard library or of another package, and
    importing what may not be called is not even tried.

    Raises:
        UserError: it cannot be imported, is not callable, or is not allowed.
    """
    refused = UserError(
        f"{path}._target_={target}: not allowed; expected an option of lmlab, a module or optimizer of torch, or "
        "something defined in your own source files"
    )
    module, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    if package not in ("lmlab", "torch") and _is_library(package):
        raise refused
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}._target_={target}: cannot be imported ({reason})") from error
    if not callable(found):
        raise UserError(f"{path}._target_={target}: expected a class or a function")
    # Where it is defined counts, not through which module it was reached.
    defined = str(getattr(found, "__module__", None) or "")
    package = defined.partition(".")[0]
    if package == "lmlab":
        allowed = defined.startswith(OPTIONS)
    elif package == "torch":
        bases = {f"{base.__module__}.{base.__name__}" for base in getattr(found, "__mro__", ())}
        allowed = not bases.isdisjoint(_TORCH_BASES)
    else:
        allowed = not _is_library(defined)
    if not allowed:
        raise refused
    return typing.cast(Callable[..., Any], found)


def _is_library(module: str) -> bool:
    """Whether a module is part of the interpreter or of an installed package, or cannot be found."""
    try:
        known = sys.modules.get(module)
        spec = known.__spec__ if known is not None else importlib.util.find_spec(module)
        file = getattr(known, "__file__", None) or (spec.origin if spec is not None else None)
    except (ImportError, ValueError, AttributeError):
        return True
    if file is None and spec is not None and spec.submodule_search_locations:  # a folder without __init__.py
        file = next(iter(spec.submodule_search_locations))
    if file is None or not Path(file).exists():
        return True  # built in, frozen or absent
    place = Path(file).resolve()
    return "site-packages" in place.parts or "dist-packages" in place.parts or place.is_relative_to(_STDLIB)
