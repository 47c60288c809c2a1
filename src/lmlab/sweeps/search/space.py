"""What a sweep searches: options with fixed values and options to vary, from overrides in Hydra's own syntax."""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

from lmlab.errors import UserError, nearest
from lmlab.overrides import is_addition, option_of, plain_word, read
from lmlab.sweeps.search.varied import (
    Choices,
    Dimension,
    Interval,
    Range,
    Varied,
    drawn,
    merged,
    rows_of,
    sampled,
    unique,
)

Lacking = Callable[[Sequence[str], Sequence[str]], AbstractSet[str]]
"""Says which options, of those of the second argument, a configuration lacks that the words of the first compose."""


class Space:
    """The options that a sweep fixes and those that it varies, in the order in which they were named.

    An option may exist in some configurations only, depending on the groups' options: ``model.mixer.heads`` in those
    with attention. A job does not have the options that its configuration lacks.

    Args:
        overrides: words in Hydra's override syntax; a later one for the same option takes the place of an earlier one.
        config_loader: Hydra's, which knows the options of every group.
        lacking: says which options a configuration lacks; ``None``: every configuration has all.
        zipped: groups of options whose values are paired instead of combined: the first with the first, and so on.

    Raises:
        UserError: a word cannot be read, nothing can be drawn from it, or a group has no such option: the first job to
            have it may be hours away. Options that are to be paired are not varied, or have unequal numbers of values.
    """

    def __init__(
        self,
        overrides: Iterable[str],
        config_loader: Any = None,
        lacking: Lacking | None = None,
        zipped: Sequence[Sequence[str]] = (),
    ) -> None:
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import OverrideParseException

        self._options: dict[str, Varied | str] = {}
        self._groups: set[str] = set()
        """Keys of options that choose an option of a group, or add or delete options."""
        self._lacking, self._lacking_of = lacking, dict[tuple[str, ...], AbstractSet[str]]()
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
                continue  # what the search is told is no part of what it launches
            key = override.get_key_element()
            if is_addition(word):
                option = _option(override, f"{key}+")
                place = option if isinstance(option, str) else f"{key}+"  # additions do not replace each other
                if place in self._options and not isinstance(option, str):
                    raise UserError(f"{word}: {key} is added to with several values twice; give each value as a list")
            else:
                option, place = _option(override, key), key
                for other in [other for other in self._options if is_addition(other) and option_of(other) == key]:
                    del self._options[other]
            self._options[place] = option
            if isinstance(option, Choices) and config_loader is not None:
                _check_choices(override.key_or_group, option.values, config_loader)
            if key[0] in "+~" or (config_loader is not None and _options_of(override.key_or_group, config_loader)):
                self._groups.add(place)
        self.zipped = list(filter(None, (_zipped(names, self._options) for names in zipped)))
        """Keys of the options that are paired, group by group."""

    @property
    def varied(self) -> list[Varied]:
        """The options to vary."""
        return [option for option in self._options.values() if not isinstance(option, str)]

    @property
    def varied_groups(self) -> list[Varied]:
        """Those of the options to vary that choose an option of a group."""
        return [option for option in self.varied if option.key in self._groups]

    @property
    def fixed(self) -> list[str]:
        """The overrides that every job has."""
        return [option for option in self._options.values() if isinstance(option, str)]

    def job(self, values: Mapping[str, str]) -> list[str]:
        """The overrides of the job in which the varied options have these values, by key.

        Options that the job's configuration lacks need no value.
        """
        lacking = self.lacking(values)
        return [_word(key, option, values) for key, option in self._options.items() if key not in lacking]

    def lacking(self, values: Mapping[str, str]) -> AbstractSet[str]:
        """The keys of the options that the configuration of a job lacks, given the values of its groups."""
        if self._lacking is None:
            return frozenset()
        groups = tuple(_word(key, self._options[key], values) for key in self._options if key in self._groups)
        if groups not in self._lacking_of:
            others = {key: option_of(key) for key in self._options if key not in self._groups and "." in option_of(key)}
            lacking = self._lacking(groups, list(others.values()))
            self._lacking_of[groups] = frozenset(key for key, option in others.items() if option in lacking)
        return self._lacking_of[groups]

    @cached_property
    def dimensions(self) -> list[Dimension]:
        """The options to vary, those that are paired in one; in the order of the first option of each."""
        together = {key: keys for keys in self.zipped for key in keys}
        keys = dict.fromkeys(tuple(together.get(option.key, [option.key])) for option in self.varied)
        varied = {option.key: option for option in self.varied}
        return [tuple(varied[key] for key in own) for own in keys]

    @cached_property
    def choices(self) -> list[dict[str, str]]:
        """Every combination of options of the varied groups. Raises ``UserError``: a group varies in an interval."""
        groups = [[option for option in dimension if option.key in self._groups] for dimension in self.dimensions]
        return [merged(rows) for rows in itertools.product(*(unique(rows_of(own)) for own in groups if own))]

    @cached_property
    def conditional(self) -> dict[str, list[dict[str, str]]]:
        """The options that some configurations lack, each with the values of the varied groups of those that have it.

        Raises:
            UserError: a group varies in an interval.
        """
        lacking = {key for values in self.choices for key in self.lacking(values)}
        return {
            key: [values for values in self.choices if key not in self.lacking(values)]
            for key in self._options
            if key in lacking
        }

    def combinations(self) -> Iterator[list[str]]:
        """Every combination as a job's overrides; the option that was named last varies fastest.

        Combinations that differ in options which their configuration lacks are one.

        Raises:
            UserError: an option varies in an interval.
        """
        jobs: dict[tuple[Any, ...], list[str]] = {}
        for rows in itertools.product(*(list(enumerate(rows_of(dimension))) for dimension in self.dimensions)):
            values = merged(row for _, row in rows)
            lacking = self.lacking(values)
            # Of a row in which the configuration lacks an option, what is left of it counts.
            what = (
                index if lacking.isdisjoint(row) else tuple(value for key, value in row.items() if key not in lacking)
                for index, row in rows
            )
            jobs.setdefault(tuple(what), self.job(values))
        return iter(jobs.values())

    def samples(self) -> Iterator[list[list[str]]]:
        """A few jobs' overrides in which each value of an option stands with each combination of the groups' options.

        They come combination by combination. Of an interval, of real numbers and of seeds, they have both ends.
        """
        groups = [own for own in self.dimensions if any(option.key in self._groups for option in own)]
        others = [sampled(own) for own in self.dimensions if own not in groups]
        for combination in itertools.product(*map(sampled, groups)):
            values = merged(combination)
            lacking = self.lacking(values)
            varied = [rows for rows in others if not rows[0].keys() <= lacking]
            yield [
                self.job(values | merged(rows[number % len(rows)] for rows in varied))
                for number in range(max(map(len, varied), default=1))
            ]

    def draw(self, seed: int, number: int) -> list[str]:
        """The overrides of random job ``number``: every option drawn by itself, evenly from its values.

        An option's value follows from (seed, number, option) alone, whatever else is varied. The first draws of an
        option, however many, are spread over its interval, or fall equally often on its values (``spread.py``).
        """
        return self.job(merged(drawn(own, seed, number) for own in self.dimensions))


def _zipped(names: Sequence[str], options: Mapping[str, Varied | str]) -> list[str]:
    """The keys of options whose values are paired; none where each has one value. Raises ``UserError``."""
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
            raise UserError(f"{word}: {name} varies in an interval, which has no list of values to pair; give a list")
        counts[name] = 1 if isinstance(option, str) else len(option.values)
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UserError(f"{word}: expected as many values for each, but {each}")
    return keys if set(counts.values()) != {1} else []


def _word(key: str, option: Varied | str, values: Mapping[str, str]) -> str:
    return option if isinstance(option, str) else f"{key}={values[key]}"


def _option(override: Any, key: str) -> Varied | str:
    """One option: the override itself if it is fixed. Raises ``UserError``."""
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
        raise UserError(f"{word}: holds no value")
    if len(values) == 1:
        return f"{key}={values[0]}"
    if shuffled:  # in the same order whenever the sweep is asked for again
        random.Random(key).shuffle(values)
    if isinstance(sweep, RangeSweep):
        return Range(key, tuple(sorted(override.sweep_iterator())), tuple(values))
    return Choices(key, tuple(values))


def _check_choices(group: str, values: Iterable[str], config_loader: Any) -> None:
    """Refuse what a group of ``conf/`` has not. Raises ``UserError``."""
    options = _options_of(group, config_loader)
    for value in values if options else ():
        if value.replace("_", "").isalnum() and value not in options:
            raise UserError(f"{group}={value}: no such option{nearest(value, options)}")


def _options_of(group: str, config_loader: Any) -> list[str]:
    """The options of a group of ``conf/``; none where there is no such group."""
    from hydra.core.object_type import ObjectType

    return list(config_loader.get_group_options(group, ObjectType.CONFIG))
