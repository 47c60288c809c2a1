"""What a sweep searches: options with fixed values and options to vary, from overrides in Hydra's own syntax."""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmlab.errors import UserError, nearest
from lmlab.overrides import read
from lmlab.sweeps.search.spread import balanced, spread


@dataclass(frozen=True)
class Choices:
    """An option to vary among values without an order: ``a,b,c``, ``choice(a,b,c)`` or ``glob(*)``.

    Args:
        key: what stands before the ``=``.
        values: what may stand behind it, as an override says it.
    """

    key: str
    values: tuple[str, ...]

    def at(self, share: float) -> str:
        """Return the value that a share of the whole in [0, 1) falls on."""
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True)
class Range:
    """An option to vary among numbers equally far apart: ``range(start,stop,step)``, in rising order."""

    key: str
    numbers: tuple[int | float, ...]
    values: tuple[str, ...]
    """The numbers as overrides say them, in the order in which they were asked for."""

    def at(self, share: float) -> str:
        """Return the value that a share of the whole in [0, 1) falls on."""
        return str(self.numbers[int(share * len(self.numbers))])


@dataclass(frozen=True)
class Interval:
    """An option to vary between two numbers: ``interval(low,high)``, also in ``int(...)`` or ``tag(log,...)``.

    Args:
        log: equally probable are equal ratios rather than equal differences.
        whole: whole numbers, both ends included.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> str:
        """Return the value that a share of the whole in [0, 1) falls on."""
        margin = 0.5 if self.whole else 0.0  # half a number on either side, so that the ends are as probable
        low, high = self.low - margin, self.high + margin
        value = math.exp(_between(math.log(low), math.log(high), share)) if self.log else _between(low, high, share)
        value = min(max(value, self.low), self.high)
        return str(math.floor(value + 0.5)) if self.whole else repr(value)


Varied = Choices | Range | Interval

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

    Raises:
        UserError: a word cannot be read, nothing can be drawn from it, or a group has no such option: the first job to
            have it may be hours away.
    """

    def __init__(self, overrides: Iterable[str], config_loader: Any = None, lacking: Lacking | None = None) -> None:
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
                (override,) = parser.parse_overrides([word])
            except OverrideParseException as error:
                raise UserError(f"{word}: cannot be read; expected option=value") from error
            if override.key_or_group == "sweep" or override.key_or_group.startswith("sweep."):
                if override.is_sweep_override():
                    raise UserError(f"{word}: one search at a time; give a single value")
                continue  # what the search is told is no part of what it launches
            key = override.get_key_element()
            option = self._options[key] = _option(override)
            if isinstance(option, Choices) and config_loader is not None:
                _check_choices(override.key_or_group, option.values, config_loader)
            if key[0] in "+~" or (config_loader is not None and _options_of(override.key_or_group, config_loader)):
                self._groups.add(key)

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
            others = [key for key in self._options if key not in self._groups and "." in key]
            self._lacking_of[groups] = frozenset(self._lacking(groups, others))
        return self._lacking_of[groups]

    @cached_property
    def choices(self) -> list[dict[str, str]]:
        """Every combination of options of the varied groups. Raises ``UserError``: a group varies in an interval."""
        keys = [group.key for group in self.varied_groups]
        return [dict(zip(keys, values, strict=True)) for values in _product(self.varied_groups)]

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
        keys = [option.key for option in self.varied]
        combinations = [dict(zip(keys, values, strict=True)) for values in _product(self.varied)]
        first = combinations[0]  # stands for all that differ only in what a configuration lacks
        return (
            self.job(values)
            for values in combinations
            if all(values[key] == first[key] for key in self.lacking(values) if key in values)
        )

    def samples(self) -> Iterator[list[list[str]]]:
        """A few jobs' overrides in which each value of an option stands with each combination of the groups' options.

        They come combination by combination. Of an interval, of real numbers and of seeds, they have both ends.
        """
        values = {option.key: _sampled(option) for option in self.varied}
        others = {key: of_one for key, of_one in values.items() if key not in self._groups}
        choices = [(key, of_one) for key, of_one in values.items() if key in self._groups]
        for combination in itertools.product(*(of_one for _, of_one in choices)):
            chosen = {key: value for (key, _), value in zip(choices, combination, strict=True)}
            lacking = self.lacking(chosen)
            varied = {key: of_one for key, of_one in others.items() if key not in lacking}
            yield [
                self.job(chosen | {key: of_one[number % len(of_one)] for key, of_one in varied.items()})
                for number in range(max(map(len, varied.values()), default=1))
            ]

    def draw(self, seed: int, number: int) -> list[str]:
        """The overrides of random job ``number``: every option drawn by itself, evenly from its values.

        An option's value follows from (seed, number, option) alone, whatever else is varied. The first draws of an
        option, however many, are spread over its interval, or fall equally often on its values (``spread.py``).
        """
        return self.job({option.key: option.at(_share(seed, number, option)) for option in self.varied})


def _sampled(option: Varied) -> Sequence[str]:
    """The values of an option that stand for all: the ends where whatever lies between two good numbers is good too."""
    if isinstance(option, Interval):
        return option.at(0.0), option.at(1 - 2**-53)
    try:
        numbers = {value: float(value) for value in option.values}
    except ValueError:
        return option.values
    whole, finite = (all(map(test, numbers.values())) for test in (float.is_integer, math.isfinite))
    if not finite or whole != (option.key == "seed"):
        return option.values  # heads=2,3,4: 3 may not divide the width
    return tuple(dict.fromkeys((min(numbers, key=numbers.__getitem__), max(numbers, key=numbers.__getitem__))))


def _word(key: str, option: Varied | str, values: Mapping[str, str]) -> str:
    return option if isinstance(option, str) else f"{key}={values[key]}"


def _product(options: Iterable[Varied]) -> Iterator[tuple[str, ...]]:
    """Every combination of values; that of the last option varies fastest. Raises ``UserError`` for an interval."""
    lists: list[Sequence[str]] = []
    for option in options:
        if isinstance(option, Interval):
            raise UserError(
                f"{option.key}: an interval has no list of values; give a list or a range, or let sweep=random or "
                "sweep=optuna draw from it"
            )
        lists.append(option.values)
    return itertools.product(*lists)


def _option(override: Any) -> Varied | str:
    """One option: the override itself if it is fixed. Raises ``UserError``."""
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

    key, word = override.get_key_element(), override.input_line
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


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _share(seed: int, number: int, option: Varied) -> float:
    """A number in [0, 1), unrelated for two seeds and for two options."""
    stream = f"{seed},{option.key}"
    if not isinstance(option, Interval):
        return balanced(stream, number, len(option.values))
    if option.whole and not option.log:
        return balanced(stream, number, int(option.high - option.low) + 1)
    return spread(stream, number)
