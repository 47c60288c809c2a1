"""Parse the options of a sweep, fixed or varied, from overrides in Hydra's syntax."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmlab.config.overrides import is_addition, is_of_stage, option_of, plain_word, read
from lmlab.config.short_names import short_name
from lmlab.errors import UserError, nearest
from lmlab.sweeps.search.varied import Choices, Interval, Range, Varied


def read_options(overrides: Iterable[str], config_loader: Any = None) -> tuple[dict[str, Varied | str], set[str]]:
    """Return the options by key, fixed ones as overrides, and the keys of groups, additions and deletions.

    Args:
        overrides, config_loader: see :class:`lmlab.sweeps.search.space.Space`.

    Raises:
        UserError: an override cannot be parsed, has no values to draw from, or names an unknown option of a group.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    options: dict[str, Varied | str] = {}
    groups: set[str] = set()
    parser = OverridesParser.create(config_loader=config_loader)
    for typed in overrides:
        word = read(typed, several=True)
        try:
            (override,) = parser.parse_overrides([plain_word(word)])
        except OverrideParseException as error:
            raise UserError(f"{word}: cannot be read; expected option=value") from error
        if override.key_or_group == "sweep" or override.key_or_group.startswith("sweep."):
            if override.is_sweep_override() and override.key_or_group == "sweep.zip":
                raise UserError(f"{word}: expected a list, as sweep.zip=[{word.partition('=')[2]}]")
            if override.is_sweep_override():
                raise UserError(f"{word}: one search at a time; give a single value")
            continue  # options of the search are not part of its jobs
        key = override.get_key_element()
        if is_addition(word):
            option = _option(override, f"{key}+")
            place = option if isinstance(option, str) else f"{key}+"  # additions do not replace each other
            if place in options and not isinstance(option, str):
                raise UserError(f"{word}: {key} is added to with several values twice; give each value as a list")
        else:
            option, place = _option(override, key), key
            for other in [other for other in options if is_addition(other) and option_of(other) == key]:
                del options[other]
        options[place] = option
        if isinstance(option, Choices) and config_loader is not None:
            _check_choices(override.key_or_group, option.values, config_loader)
        if is_of_stage(key):  # no group, and part of every job
            continue
        if key[0] in "+~" or (config_loader is not None and _options_of(override.key_or_group, config_loader)):
            groups.add(place)
    return options, groups


def paired_keys(names: Sequence[str], options: Mapping[str, Varied | str]) -> list[str]:
    """Return the keys of options with paired values; empty if each has one value. Raises ``UserError``."""
    names = [short_name(name) for name in names]
    word = f"sweep.zip=[{','.join(names)}]"
    by_name = {option_of(key): key for key in options}
    varied = [name for name, key in by_name.items() if not isinstance(options[key], str)]
    for name in names:
        if option_of(name) not in by_name:
            hint = nearest(name, varied) if varied else ""
            raise UserError(f"{word}: {name} is not varied in this sweep{hint}")
    keys = [by_name[option_of(name)] for name in names]
    counts: dict[str, int] = {}
    for name, key in zip(names, keys, strict=True):
        option = options[key]
        if isinstance(option, Interval):
            raise UserError(f"{word}: {name} varies in an interval, which has no values to pair; give a list")
        counts[name] = 1 if isinstance(option, str) else len(option.values)
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UserError(f"{word}: expected as many values for each, but {each}")
    return keys if set(counts.values()) != {1} else []


def _option(override: Any, key: str) -> Varied | str:
    """Return one option; a fixed one as its override. Raises ``UserError``."""
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

    word = override.input_line
    if override.is_delete():
        return str(word)
    if not override.is_sweep_override():
        return f"{key}={override.get_value_element_as_str()}"
    sweep = override.value()
    if tags := sorted(getattr(sweep, "tags", ())):
        if not isinstance(sweep, IntervalSweep):
            raise UserError(f"{word}: only an interval can have a tag")
        if tags != ["log"]:
            raise UserError(f"{word}: unknown tag; expected log, or none")
    if isinstance(sweep, IntervalSweep):
        low, high = sweep.start, sweep.end
        assert low is not None and high is not None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"{word}: expected an interval from a number to a larger one")
        if tags and low <= 0:
            raise UserError(f"{word}: a logarithmic interval begins above 0")
        return Interval(key, low, high, log=bool(tags), whole=isinstance(low, int) and isinstance(high, int))
    shuffled = getattr(sweep, "shuffle", False)
    if shuffled:
        sweep.shuffle = False
    values = list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{word}: has no values")
    if len(values) == 1:
        return f"{key}={values[0]}"
    if shuffled:  # the same order in every attempt of the sweep
        random.Random(key).shuffle(values)
    if isinstance(sweep, RangeSweep):
        return Range(key, tuple(sorted(override.sweep_iterator())), tuple(values))
    return Choices(key, tuple(values))


def _check_choices(group: str, values: Iterable[str], config_loader: Any) -> None:
    """Refuse unknown options of a group of ``conf/``. Raises ``UserError``."""
    options = _options_of(group, config_loader)
    for value in values if options else ():
        if value.replace("_", "").isalnum() and value not in options:
            raise UserError(f"{group}={value}: no such option{nearest(value, options)}")


def _options_of(group: str, config_loader: Any) -> list[str]:
    """Return the options of a group of ``conf/``; empty if there is no such group."""
    from hydra.core.object_type import ObjectType

    return list(config_loader.get_group_options(group, ObjectType.CONFIG))
