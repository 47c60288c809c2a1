"""What a sweep searches: options with fixed values and options to vary, from overrides in Hydra's own syntax."""

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab.errors import UserError, nearest
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


class Space:
    """The options that a sweep fixes and those that it varies, in the order in which they were named.

    Args:
        overrides: words in Hydra's override syntax; a later one for the same option takes the place of an earlier one.
        config_loader: Hydra's, which knows the options of every group.

    Raises:
        UserError: a word cannot be read, nothing can be drawn from it, or a group has no such option: the first job to
            have it may be hours away.
    """

    def __init__(self, overrides: Iterable[str], config_loader: Any = None) -> None:
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import OverrideParseException

        self._options: dict[str, Varied | str] = {}
        parser = OverridesParser.create(config_loader=config_loader)
        for word in overrides:
            try:
                (override,) = parser.parse_overrides([word])
            except OverrideParseException as error:
                raise UserError(f"{word}: cannot be read ({error.message.splitlines()[0]})") from error
            if override.key_or_group == "sweep" or override.key_or_group.startswith("sweep."):
                if override.is_sweep_override():
                    raise UserError(f"{word}: one search at a time; give a single value")
                continue  # what the search is told is no part of what it launches
            option = self._options[override.get_key_element()] = _option(override)
            if isinstance(option, Choices) and config_loader is not None:
                _check_choices(override.key_or_group, option.values, config_loader)

    @property
    def varied(self) -> list[Varied]:
        """The options to vary."""
        return [option for option in self._options.values() if not isinstance(option, str)]

    @property
    def fixed(self) -> list[str]:
        """The overrides that every job has."""
        return [option for option in self._options.values() if isinstance(option, str)]

    def job(self, values: dict[str, str]) -> list[str]:
        """The overrides of the job in which the varied options have these values, by key."""
        return [option if isinstance(option, str) else f"{key}={values[key]}" for key, option in self._options.items()]

    def combinations(self) -> Iterator[list[str]]:
        """Every combination as a job's overrides; the option that was named last varies fastest.

        Raises:
            UserError: an option varies in an interval.
        """
        lists: list[Sequence[str]] = []
        for option in self.varied:
            if isinstance(option, Interval):
                raise UserError(
                    f"{option.key}: an interval has no list of values; give a list or a range, or let sweep=random or "
                    "sweep=optuna draw from it"
                )
            lists.append(option.values)
        keys = [option.key for option in self.varied]
        return (self.job(dict(zip(keys, values, strict=True))) for values in itertools.product(*lists))

    def draw(self, seed: int, number: int) -> list[str]:
        """The overrides of random job ``number``: every option drawn by itself, evenly from its values.

        An option's value follows from (seed, number, option) alone, whatever else is varied. The first draws of an
        option, however many, are spread over its interval, or fall equally often on its values (``spread.py``).
        """
        return self.job({option.key: option.at(_share(seed, number, option)) for option in self.varied})


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
    if shuffled:  # in the same order whenever the sweep is asked for again
        random.Random(key).shuffle(values)
    if isinstance(sweep, RangeSweep):
        return Range(key, tuple(sorted(override.sweep_iterator())), tuple(values))
    return Choices(key, tuple(values))


def _check_choices(group: str, values: Iterable[str], config_loader: Any) -> None:
    """Refuse what a group of ``conf/`` has not. Raises ``UserError``."""
    from hydra.core.object_type import ObjectType

    known = config_loader.get_group_options(group, ObjectType.CONFIG)
    for value in values if known else ():
        if value.replace("_", "").isalnum() and value not in known:
            raise UserError(f"{group}={value}: no such option{nearest(value, known)}")


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
