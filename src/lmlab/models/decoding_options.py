"""Settings of decoding by the names of options, as a task's section and command lines give them."""

import json
import re
from collections.abc import Mapping
from inspect import signature
from typing import Any

from lmlab.config.check import check_arguments
from lmlab.config.overrides import written
from lmlab.errors import UserError
from lmlab.models.decoding import Decoding

Settings = dict[str, Any]
"""Values of options by name; options without a value are absent."""

_BY_WAY = {
    "beams": ("beams", "length_penalty"),
    "sampling": ("temperature", "top_k", "top_p", "seed"),
    "greedy": ("greedy",),
}
"""Options that belong to one way of decoding."""


_ESCAPE = re.compile(r"\\(?:[nrt\\]|u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*)")


def _options(
    greedy: bool | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    repetition_penalty: float | None = None,
    stop: str | list[str] | None = None,
    extract: bool | None = None,
) -> None:
    """Declare the options of a section ``decoding``, and their types."""


NAMES = tuple(signature(_options).parameters)
"""The options of a section ``decoding``."""


def checked(section: Mapping[str, Any], prefix: str = "") -> Settings:
    """Return the options of a section ``decoding`` that have a value, after checking names, types and combination.

    Args:
        prefix: text before an option's name in messages: ``data.decoding.``.

    Raises:
        UserError: an option does not exist or has a wrong value, or two cannot be combined.
    """
    options = dict(section)
    check_arguments(_options, options, prefix, name="decoding")
    try:
        settings = with_values(**options)
        decoding_of(settings)
    except UserError as error:
        raise UserError(f"{prefix}{error}") from error
    return settings


def with_values(stop: str | list[str] | None = None, **options: Any) -> Settings:
    """Return the options that have a value, stop strings as a list. Raises ``UserError`` for an empty stop string."""
    options |= {} if stop is None else {"stop": read_stop(stop)}
    return {name: value for name, value in options.items() if value is not None}


def decoding_of(settings: Settings, length: int = 1) -> Decoding:
    """Return the decoding that settings mean: greedy, unless they name options of sampling or more than one beam.

    Args:
        length: the largest number of tokens, unless ``settings`` have another.

    Raises:
        UserError: a setting is out of its range, or two cannot be combined.
    """
    way = _way(settings)
    if "seed" in settings and way != "sampling":
        raise UserError(f"seed={settings['seed']}: nothing is sampled; choose temperature=1 as well, or leave it out")
    options = {name: value for name, value in settings.items() if name != "seed"}
    if way != "beams":
        options["greedy"] = way != "sampling"
    return Decoding(**{"length": length, **options, "stop": tuple(settings.get("stop", ()))})


def replaced(settings: Settings, by: Settings) -> Settings:
    """Return ``settings`` with the options ``by`` in place of theirs.

    If these choose another way of decoding, options of the earlier way are left out: of a task with
    ``beams=4 length_penalty=0.6``, neither remains with ``greedy=true`` or ``top_p=0.9``.
    """
    way, earlier = _way(by), _way(settings)
    if way is None and by.get("beams") == 1:
        left_out = _BY_WAY["beams"]
    elif way is None or way == earlier:
        left_out = ()
    else:
        left_out = tuple(name for names in _BY_WAY.values() for name in names)
    return {name: value for name, value in settings.items() if name not in left_out} | by


def line(decoding: Decoding, seed: int = 1) -> str:
    """Return all settings that affect the answers of a judge, on one line, as they are typed."""
    sampled = decoding.beams == 1 and not decoding.greedy
    return decoding.signature() + (f" seed={seed}" if sampled else "")


def read_stop(stop: str | list[str] | None) -> list[str]:
    r"""Return the stop strings with the escapes ``\n``, ``\t``, ``\\`` and ``\u00e9`` replaced by characters.

    Raises:
        UserError: a string is empty.
    """
    strings = [stop] if isinstance(stop, str) else stop or []
    if "" in strings:
        raise UserError(f"stop={written(stop) or repr('')}: expected texts of at least one character, or null for none")
    return [unescaped(string) for string in strings]


def unescaped(text: str) -> str:
    r"""Return a text with the escapes ``\n``, ``\t``, ``\\`` and ``\u00e9`` replaced by characters."""
    return _ESCAPE.sub(lambda escape: str(json.loads(f'"{escape[0]}"')), text)


def _way(settings: Settings) -> str | None:
    """Return the way of decoding that settings choose; ``None``: they leave it open."""
    if settings.get("beams", 1) > 1:
        return "beams"
    if settings.get("greedy"):
        return "greedy"
    sampled = settings.get("greedy") is False or any(name in settings for name in ("temperature", "top_k", "top_p"))
    return "sampling" if sampled else None
