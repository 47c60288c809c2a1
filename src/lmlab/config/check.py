"""Check sections of a configuration against the signatures of their targets.

The signatures of constructors are the schema: names, types and missing values are checked before anything is built.
This module does not import torch itself; resolving a ``_target_`` imports the module of the target.
"""

import inspect
import shlex
import types
import typing
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, Union

from lmlab.config.kinds import supplied_at
from lmlab.config.nodes import Config
from lmlab.config.other_words import in_our_words
from lmlab.config.overrides import written
from lmlab.config.targets import named_parameters, resolve_target, targets
from lmlab.errors import UserError, nearest
from lmlab.numerals import is_number


def validate(config: Mapping[str, Any], path: str = "") -> None:
    """Check every ``_target_`` node below ``config`` against the signature of its target.

    Raises:
        UserError: a target that cannot be imported or may not be called, an unknown or missing parameter, or a value
            of the wrong type; the message names the dotted option.
    """
    for target, node, where in targets(config, path):
        function = resolve_target(target, where)
        if missing := getattr(function, "__abstractmethods__", None):
            raise UserError(f"{where}._target_={target}: lacks {', '.join(sorted(missing))}, which it has to define")
        # A partial gets its missing arguments later.
        supplied = None if node.get("_partial_") else supplied_at(where)
        check_arguments(function, typing.cast(Config, node), f"{where}.", supplied)


def check_arguments(
    function: Callable[..., Any],
    arguments: MutableMapping[str, Any],
    prefix: str = "",
    supplied: AbstractSet[str] | None = frozenset(),
    name: str | None = None,
) -> None:
    """Check options against the parameters of ``function``: names, types, and that none is missing.

    Values in the notation of ``wandb agent`` are converted in place: 16.0 to 16 if a whole number is expected, the word
    None to null if null is allowed, and a number to its digits if a text is expected.

    Args:
        prefix: text before an option's name in messages.
        supplied: parameters that are not required; ``None``: any of them.
        name: the name of ``function`` in messages; ``None``: its own.

    Raises:
        UserError: naming the option, its value and what was expected.
    """
    name = name or function.__name__
    parameters = named_parameters(function)
    anything = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    hints = _hints(function.__init__ if inspect.isclass(function) else function)
    for key, value in arguments.items():
        if key.startswith("_") and key.endswith("_"):  # Hydra's own
            continue
        if key not in parameters and not anything:
            other = in_our_words(f"{prefix}{key}", None if prefix else parameters)
            raise UserError(f"{prefix}{key}: {name} has no such option{other or nearest(key, parameters)}")
        arguments[key] = _fitted(value, hints.get(key, Any), f"{prefix}{key}")
    for key, parameter in parameters.items():
        required = parameter.default is parameter.empty and supplied is not None and key not in supplied
        if required and key not in arguments:
            own = " (or _partial_: true, if it is lmlab that gives it)" if "_target_" in arguments else ""
            raise UserError(f"{prefix}{key} has no value: {name} needs one{own}")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of parameters; ``{}`` if annotations name something that only type checkers import."""
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):
        return {}


def _fitted(value: Any, hint: Any, path: str) -> Any:
    """Return ``value`` converted to the type ``hint``. Raises ``UserError`` if it does not fit."""
    for form in _forms(value, hint):
        if _fits(form, hint):
            return form
    members = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    choices = [member for member in members if member is not type(None)]
    if all(typing.get_origin(member) is Literal for member in choices):
        words = [str(word) for member in choices for word in typing.get_args(member)]
        words += ["null"] if type(None) in members else []
        raise UserError(f"{path}={written(value)}: unknown value{nearest(value, words)}")
    if _fits([value], hint):
        listed = shlex.quote(f"{path}={written([value])}")
        raise UserError(f"{path}={written(value)}: expected {_readable(hint)}, as {listed}")
    kind = "" if value is None else f", got {type(value).__name__}"
    raise UserError(f"{path}={written(value)}: expected {_readable(hint)}{kind}")


def _forms(value: Any, hint: Any) -> Iterator[Any]:
    """Yield possible readings of ``value``, the likeliest first."""
    alternatives = [part for one in typing.get_args(hint) or [hint] for part in typing.get_args(one) or [one]]
    if value == "None" and not {None, type(None)}.isdisjoint(alternatives):
        yield None
    yield value
    if isinstance(value, float) and value.is_integer():
        yield int(value)
    if isinstance(value, int) and not isinstance(value, bool) and str in (hint, *alternatives):
        yield str(value)
    if isinstance(value, list):
        forms = ([form for part in alternatives for form in _forms(item, part) if _fits(form, part)] for item in value)
        yield [fitting[0] if fitting else item for fitting, item in zip(forms, value, strict=True)]


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, Mapping) and "_target_" in value:
        return True  # checked as a node of its own
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments and type(value) in {type(argument) for argument in arguments}
    if origin in (list, tuple, Sequence) or hint in (list, tuple, Sequence):
        return isinstance(value, list) and (not arguments or all(_fits(item, arguments[0]) for item in value))
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        return isinstance(value, Mapping)
    if hint is type(None):
        return value is None
    if hint is float:
        return is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str)
    # Other annotations are not checked.
    return hint is Any or (not isinstance(hint, type) and origin is not Callable)


_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def _readable(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_readable(argument) for argument in arguments)
    if typing.get_origin(hint) in (list, tuple, Sequence):
        return f"a list of {_PLURALS.get(arguments[0], _readable(arguments[0]))}" if arguments else "a list"
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, arguments))
    return "a section" if typing.get_origin(hint) in (dict, Mapping) else names.get(hint, "a section with a _target_")
