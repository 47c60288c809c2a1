"""Build the objects that a configuration describes. Only this module calls targets."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from lmlab.config.targets import named_parameters, resolve_target, targets
from lmlab.errors import in_part


def build(node: Mapping[str, Any] | None, **supplied: Any) -> Any:
    """Build the object that ``node`` describes, with nested nodes first.

    The node must have passed :func:`validate`. ``None`` builds ``None``.

    Args:
        supplied: further arguments; the target gets those that it has parameters for.

    Raises:
        UserError: a constructor refused its arguments, or a target may not be called.
    """
    if node is None:
        return None
    for target, _, where in targets(node):  # no target is called before all are checked
        resolve_target(target, where)
    return _built(node, supplied)


def accepted(target: Callable[..., Any], supplied: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for which ``target`` has parameters."""
    every = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(target).parameters.values())
    return dict(supplied) if every else {name: supplied[name] for name in named_parameters(target) if name in supplied}


def _built(node: Any, supplied: Mapping[str, Any]) -> Any:
    """Build the object of a plain node. Hydra's ``instantiate`` would read ``${`` in a text as a reference."""
    if isinstance(node, list):
        return [_built(value, {}) for value in node]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {name: _named(name, value) for name, value in node.items() if not _is_special(name)}
    values = {key: _built(value, {}) for key, value in node.items() if not _is_special(key)}
    target = resolve_target(node["_target_"], node["_target_"])
    if supplied:
        values |= accepted(target, supplied)
    return functools.partial(target, **values) if node.get("_partial_") else target(**values)


def _named(name: str, node: Any) -> Any:
    """Build the object of a node in a mapping by name; errors of a mixture's data sets name their place in it."""
    with in_part(name, node) if isinstance(node, Mapping) and "_target_" in node else nullcontext():
        return _built(node, {})


def _is_special(key: str) -> bool:
    """Return whether a key of a node is an instruction for the call, like ``_partial_``, and not an argument."""
    return key.startswith("_") and key.endswith("_")
