"""What a sweep searches: options with fixed values and options to vary, from overrides in Hydra's own syntax."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

from lmlab.overrides import is_of_stage, option_of
from lmlab.sweeps.search.reading import paired_keys, read_options
from lmlab.sweeps.search.varied import (
    Dimension,
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
        self._options, self._groups = read_options(overrides, config_loader)
        """By key; and the keys of those that choose an option of a group, or add or delete options."""
        self._lacking, self._lacking_of = lacking, dict[tuple[str, ...], AbstractSet[str]]()
        self.zipped = list(filter(None, (paired_keys(names, self._options) for names in zipped)))
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
            dotted = (key for key in self._options if "." in option_of(key) and not is_of_stage(key))
            others = {key: option_of(key) for key in dotted if key not in self._groups}
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


def _word(key: str, option: Varied | str, values: Mapping[str, str]) -> str:
    return option if isinstance(option, str) else f"{key}={values[key]}"
