"""Canonical configurations, their identity, and the objects that they describe.

The signatures of constructors are the schema: every section with a ``_target_`` is checked against the parameters of
its target before anything is built. Only this module calls targets. It does not import torch itself; resolving a
``_target_`` imports the module of the target.
"""

import functools
import hashlib
import inspect
import json
import shlex
import types
import typing
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, Union

from lmlab.errors import UserError, nearest
from lmlab.kinds import given_at
from lmlab.numerals import amount
from lmlab.other_words import in_our_words
from lmlab.overrides import written
from lmlab.pattern import of_pattern
from lmlab.references import explained
from lmlab.surroundings import expanded
from lmlab.targets import named_parameters, resolve_target, targets

Config = dict[str, Any]
Paths = dict[str, Any]
"""The section ``paths`` of every command: outputs, runs, cache, corpora."""

CONF = next(path for path in (Path(__file__).parent / "conf", Path(__file__).parents[2] / "conf") if path.is_dir())
"""The folder of Hydra configurations: inside the package when installed, at the top level in a checkout."""

NOT_IDENTITY = (
    "name",
    "tags",
    "rerun",
    "progress",
    "paths",
    "logger",
    "execution",
    "start.directory",
    "callbacks.checkpoint",
    "callbacks.samples",
    "callbacks.watchdog",
    "callbacks.replicas",
    *(f"trainer.{key}" for key in ("devices", "nodes", "strategy", "accumulate", "threads", "out_of_memory")),
    *(f"trainer.{key}" for key in ("tensor_parallel", "activation_checkpointing")),
)
"""Keys that do not define the result, and so are no part of a run's identity.

The distribution of a batch over devices and micro-batches changes a result only by rounding and by the dropout masks,
as another machine would. A run can therefore be resumed with other devices.
"""

_LATER = ("validation.share", "model.ngrams", "model.block.token_shift", "start.embeddings")
"""Options that earlier versions lacked. A null value means the behaviour of these versions."""


def canonical(composed: Any) -> Config:
    """Return the plain, fully resolved form of a composed config.

    Raises:
        UserError: a mandatory value (``???``) is missing, or an interpolation cannot be resolved.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            raise UserError(f"{missing[0]} has no value: give one as {missing[0]}=...")
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(explained(error)) from error
    assert isinstance(plain, dict)
    for key, value in (plain.get("paths") or {}).items():
        if not isinstance(value, str | None) or value == "" or (value is None and key != "corpora"):
            raise UserError(f"paths.{key}={written(value)}: expected a folder")
        plain["paths"][key] = value and str(expanded(value))
    budget = plain.get("budget")
    if isinstance(budget, dict) and isinstance(tokens := budget.get("tokens"), str):  # as 10M
        budget["tokens"] = amount(tokens) or tokens
    if isinstance(plain.get("model"), dict) and plain["model"].get("pattern") is not None:
        plain["model"] |= of_pattern(plain["model"])
    return typing.cast(Config, plain)


def identity(config: Config) -> str:
    """Return the ten-character id of a result: a hash of all keys of ``config`` that can change it."""
    relevant = result_config(config)
    model = relevant.get("model") or {}
    if (
        model.get("parameters") is None or model.get("parameters_within") is None
    ):  # keep the ids of versions without this option
        model.pop("parameters_within", None)
    if model.get("parameters") is not None:
        # Values that are solved from the requested size are no part of the identity.
        relevant["model"].pop("width", None)
        for key, requested in (relevant["model"].pop("solved_from", None) or {}).items():
            set_at(relevant["model"], key, requested)
    for key in _LATER:
        *sections, option = key.split(".")
        node: Any = relevant
        for section in sections:
            node = node.get(section) or {}
        if node.get(option) is None:
            node.pop(option, None)
    text = json.dumps(relevant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def without_effect(config: Config) -> tuple[str, ...]:
    """Return the keys of ``config`` that cannot change a result; the path of a text with a checksum is one of them."""
    return (*NOT_IDENTITY, "data.paths") if "data" in (config.get("content") or {}) else NOT_IDENTITY


def result_config(config: Config) -> Config:
    """Return a copy of ``config`` without the keys that cannot change a result."""
    relevant: Config = json.loads(json.dumps(config), parse_float=_whole, object_hook=_without_none)
    for key in without_effect(config):
        *parents, last = key.split(".")
        node = relevant
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(last, None)
    if (relevant.get("start") or {}).get("run") is None:  # keep the ids of versions without this option
        relevant.pop("start", None)
    return relevant


def set_at(section: Config, key: str, value: Any) -> None:
    """Change the option with the dotted ``key`` below ``section`` in place."""
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = value


def at(section: Any, key: str) -> Any:
    """Return the value of the option with the dotted ``key`` below ``section``; ``None`` if there is none."""
    for part in key.split("."):
        section = section.get(part) if isinstance(section, dict) else None
    return section


def has(section: Config, key: str) -> bool:
    """Return whether ``section`` has an option with the dotted ``key``, with any value."""
    parent, _, last = key.rpartition(".")
    section = at(section, parent) if parent else section
    return isinstance(section, dict) and last in section


def _without_none(section: Config) -> Config:
    """Replace the word None, which ``wandb agent`` writes, by null."""
    return {key: None if value == "None" else value for key, value in section.items()}


def _whole(number: str) -> int | float:
    """Parse a number; whole numbers become ``int``, so that 1e6 and 1_000_000 have the same identity."""
    value = float(number)
    return int(value) if value.is_integer() else value


def differences(first: Config, second: Config, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ, with both values; an absent key has the value ``None``."""
    changed: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*first, *second}):
        one, other = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            changed |= differences(one, other, f"{prefix}{key}.")
        elif one != other:
            changed[f"{prefix}{key}"] = (one, other)
    return changed


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every option below ``node``; a list yields each of its elements."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            for one in value if isinstance(value, list) else [value]:
                yield f"{prefix}{key}", one


def build(node: Mapping[str, Any] | None, **supplied: Any) -> Any:
    """Build the object that ``node`` describes, with nested nodes first; ``supplied`` adds arguments to the call.

    The node must have passed :func:`validate`. ``None`` builds ``None``.

    Raises:
        UserError: a constructor refused its arguments, or a target may not be called.
    """
    if node is None:
        return None
    for target, _, where in targets(node):  # no target is called before all are checked
        resolve_target(target, where)
    return _built(node, supplied)


def _built(node: Any, supplied: Mapping[str, Any]) -> Any:
    """Build the object of a plain node. Hydra's ``instantiate`` would read ``${`` in a text as a reference."""
    if isinstance(node, list):
        return [_built(value, {}) for value in node]
    if not isinstance(node, Mapping):
        return node
    values = {key: _built(value, {}) for key, value in node.items() if not _is_special(key)} | dict(supplied)
    if "_target_" not in node:
        return values
    target = resolve_target(node["_target_"], node["_target_"])
    return functools.partial(target, **values) if node.get("_partial_") else target(**values)


def _is_special(key: str) -> bool:
    """Return whether a key of a node is an instruction for the call, like ``_partial_``, and not an argument."""
    return key.startswith("_") and key.endswith("_")


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
        supplied = None if node.get("_partial_") else given_at(where)
        check_arguments(function, typing.cast(Config, node), f"{where}.", supplied)


def check_arguments(
    function: Callable[..., Any],
    given: MutableMapping[str, Any],
    prefix: str = "",
    supplied: AbstractSet[str] | None = frozenset(),
    name: str | None = None,
) -> None:
    """Check options against the parameters of ``function``: names, types, and that none is missing.

    Values in the notation of ``wandb agent`` are converted in place: 16.0 to 16 if a whole number is expected, the word
    None to null if null is allowed, and a number to its digits if a text is expected.

    Args:
        prefix: text before an option's name in messages.
        supplied: parameters that need not be given; ``None``: any of them.
        name: the name of ``function`` in messages; ``None``: its own.

    Raises:
        UserError: naming the option, its value and what was expected.
    """
    name = name or function.__name__
    parameters = named_parameters(function)
    anything = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    hints = _hints(function.__init__ if inspect.isclass(function) else function)
    for key, value in given.items():
        if key.startswith("_") and key.endswith("_"):  # Hydra's own
            continue
        if key not in parameters and not anything:
            other = in_our_words(f"{prefix}{key}", None if prefix else parameters)
            raise UserError(f"{prefix}{key}: {name} has no such option{other or nearest(key, parameters)}")
        given[key] = _fitted(value, hints.get(key, Any), f"{prefix}{key}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in given and supplied is not None and key not in supplied:
            own = " (or _partial_: true, if it is lmlab that gives it)" if "_target_" in given else ""
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
    if typing.get_origin(hint) is Literal:
        raise UserError(f"{path}={written(value)}: unknown value{nearest(value, map(str, typing.get_args(hint)))}")
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
        return isinstance(value, (int, float)) and not isinstance(value, bool)
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
