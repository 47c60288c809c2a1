"""The search space of a sweep: fixed and varied options, from overrides in Hydra's syntax."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

from lmlab.config.overrides import is_of_stage, option_of
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
"""Function that returns those options of the second argument that a configuration composed of the first lacks."""


class Space:
    """The fixed and varied options of a sweep, in the order of the overrides.

    An option may exist in some configurations only, depending on options of groups: ``model.mixer.heads`` in those
    with attention. A job has no options that its configuration lacks.

    Args:
        overrides: overrides in Hydra's syntax; a later one for the same option replaces an earlier one.
        config_loader: Hydra's, which knows the options of every group.
        lacking: returns the options that a configuration lacks; ``None``: every configuration has all.
        zipped: groups of options whose values are paired instead of combined: the first with the first, and so on.

    Raises:
        UserError: an override cannot be parsed, has no values to draw from, or names an unknown option of a group
            (otherwise found only when its first job starts). Paired options are not varied, or differ in length.
    """

    def __init__(
        self,
        overrides: Iterable[str],
        config_loader: Any = None,
        lacking: Lacking | None = None,
        zipped: Sequence[Sequence[str]] = (),
    ) -> None:
        self._options, self._groups = read_options(overrides, config_loader)
        """Options by key; and the keys of options that select from a group, or add or delete options."""
        self._lacking, self._lacking_of = lacking, dict[tuple[str, ...], AbstractSet[str]]()
        self.zipped = list(filter(None, (paired_keys(names, self._options) for names in zipped)))
        """Keys of the paired options, group by group."""

    @property
    def varied(self) -> list[Varied]:
        """The varied options."""
        return [option for option in self._options.values() if not isinstance(option, str)]

    @property
    def varied_groups(self) -> list[Varied]:
        """The varied options that select from a group."""
        return [option for option in self.varied if option.key in self._groups]

    @property
    def fixed(self) -> list[str]:
        """The overrides common to all jobs."""
        return [option for option in self._options.values() if isinstance(option, str)]

    def job(self, values: Mapping[str, str]) -> list[str]:
        """Return the overrides of the job with these values of the varied options, by key.

        Options that the job's configuration lacks need no value.
        """
        lacking = self.lacking(values)
        return [_word(key, option, values) for key, option in self._options.items() if key not in lacking]

    def lacking(self, values: Mapping[str, str]) -> AbstractSet[str]:
        """Return the keys of the options that a job's configuration lacks, given the values of its groups."""
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
        """The varied options, paired ones together, in the order of the first option of each."""
        together = {key: keys for keys in self.zipped for key in keys}
        keys = dict.fromkeys(tuple(together.get(option.key, [option.key])) for option in self.varied)
        varied = {option.key: option for option in self.varied}
        return [tuple(varied[key] for key in own) for own in keys]

    @cached_property
    def choices(self) -> list[dict[str, str]]:
        """All combinations of the varied groups' options. Raises ``UserError`` if a group varies in an interval."""
        groups = [[option for option in dimension if option.key in self._groups] for dimension in self.dimensions]
        return [merged(rows) for rows in itertools.product(*(unique(rows_of(own)) for own in groups if own))]

    @cached_property
    def conditional(self) -> dict[str, list[dict[str, str]]]:
        """The options that some configurations lack, each with the values of varied groups for which it exists.

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
        """Yield every combination as a job's overrides; the option named last varies fastest.

        Combinations that differ only in options missing from their configuration count as one.

        Raises:
            UserError: an option varies in an interval.
        """
        jobs: dict[tuple[Any, ...], list[str]] = {}
        for rows in itertools.product(*(list(enumerate(rows_of(dimension))) for dimension in self.dimensions)):
            values = merged(row for _, row in rows)
            lacking = self.lacking(values)
            # A row with missing options counts by its other values.
            what = (
                index if lacking.isdisjoint(row) else tuple(value for key, value in row.items() if key not in lacking)
                for index, row in rows
            )
            jobs.setdefault(tuple(what), self.job(values))
        return iter(jobs.values())

    def samples(self) -> Iterator[list[list[str]]]:
        """Yield overrides of a few jobs that cover each value of an option with each combination of group options.

        They are grouped by combination. Intervals, real numbers and seeds are represented by both ends.
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
        """Return the overrides of random job ``number``: every option drawn independently, uniformly from its values.

        An option's value depends on (seed, number, option) alone, not on other varied options. The first draws of an
        option, in any number, are spread over its interval, or fall equally often on its values.
        """
        return self.job(merged(drawn(own, seed, number) for own in self.dimensions))


def _word(key: str, option: Varied | str, values: Mapping[str, str]) -> str:
    return option if isinstance(option, str) else f"{key}={values[key]}"
