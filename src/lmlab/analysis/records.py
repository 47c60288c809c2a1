"""Records of runs, read once from their directories: the input of tables, comparisons, reports and dashboards."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lmlab.config.identity import identity
from lmlab.config.nodes import Config, at
from lmlab.errors import UserError, nearest
from lmlab.metrics import Measures
from lmlab.runs.files import numbers, read_jsonl
from lmlab.runs.run import Run, Status, training_flops
from lmlab.runs.version import measures_of

if TYPE_CHECKING:  # numpy, which a table of runs does not need
    from lmlab.analysis.curves import Curves
    from lmlab.runs.logged import Log

_FIELDS: dict[str, type] = {
    "id": str,
    "name": str,
    "status": str,
    "seed": int,
    "attempts": list,
    "metrics": dict,
}
"""Fields that every manifest has."""
_OPTIONAL: dict[str, type] = {
    "created": str,
    "tags": list,
    "choices": dict,
    "sizes": dict,
    "timings": dict,
    "data": dict,
    "baselines": dict,
}
"""Fields that a manifest may have."""
_SETTINGS = ("split", "checkpoint", "documents", "context", "stride", "streams")
"""Settings of an evaluation of the run's own data."""


@dataclass(frozen=True, eq=False)
class Record:
    """One run as it was when its directory was read.

    Attributes:
        run: the run directory, which also holds samples, log and weights.
        manifest: the content of ``run.json``.
        config: the saved configuration.
        status: ``interrupted`` also if the manifest says ``running`` but the process is gone.
        cache: the folder ``paths.cache``, where recounted operations are stored; ``None``: they are not stored.
        home: the folder of runs in which commands look up ids; ``None``: the folder that holds this run.
    """

    run: Run
    manifest: Mapping[str, Any]
    config: Config
    status: Status
    cache: Path | None = None
    home: Path | None = None

    @classmethod
    def of(cls, run: Run, cache: Path | None = None, home: Path | None = None) -> "Record":
        """Read a run directory. Raises ``UserError``, which names the directory, if it cannot be read."""
        manifest, status = run.manifest_and_status()
        _check(manifest, run.path / "run.json")
        return cls(run, manifest, run.config, status, cache, home)

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    @property
    def label(self) -> str:
        """The display name: the run's name and the start of its id."""
        return f"{self.manifest['name']} {self.short_id}"

    @property
    def short_id(self) -> str:
        """The start of its id, enough for a command to find it; for a repetition, the whole id."""
        return self.id if self.copy > 1 else self.id[:6]

    @property
    def reference(self) -> str:
        """The value of ``run=`` in a command: its id, or its directory if the id cannot be looked up there."""
        path = self.run.path.absolute()
        return self.id if self.home is None or path.parent.resolve() == self.home.resolve() else str(path)

    @cached_property
    def setting(self) -> Config:
        """The configuration, with a parent run named by its setting rather than its seed.

        So runs that differ only in their seeds, along a whole chain, have the same setting except for the seed.
        """
        parent = at(self.manifest, "start.setting")
        return self.config if parent is None else {**self.config, "start": {**self.config["start"], "run": parent}}

    @property
    def seed(self) -> int:
        return int(self.manifest["seed"])

    @property
    def copy(self) -> int:
        """The number of the computation: 1, or more for a repetition by ``rerun=true`` (``<id>-2``)."""
        _, _, number = self.id.partition("-")
        return int(number) if number.isdecimal() else 1

    @property
    def tags(self) -> list[str]:
        return [str(tag) for tag in self.manifest.get("tags", [])]

    @property
    def error(self) -> str | None:
        """The error of the last attempt; ``None`` if it finished."""
        attempts = self.manifest["attempts"]
        return None if self.status == "finished" or not attempts else attempts[-1].get("error")

    @property
    def is_task(self) -> bool:
        """True if the data are a generated task rather than text."""
        return bool(at(self.manifest, "data.licence") == "generated")

    @cached_property
    def measures(self) -> Measures:
        """The metrics that it computes, recorded when it starts (see :func:`lmlab.runs.version.measures_of`)."""
        return measures_of(self.manifest)

    @property
    def score(self) -> float | None:
        """The final value of its primary metric; ``None`` if it has none."""
        return self.metric(self.measures.primary)

    def choice(self, group: str) -> str | None:
        """Return the option chosen from a group of ``conf/``: ``lstm`` for ``model``."""
        option = at(self.manifest, f"choices.{group}")
        return None if option in (None, "None") else str(option)

    @property
    def corpus(self) -> str:
        """The name of its data; of local text, the names of its files and folders."""
        paths = at(self.config, "data.paths")
        paths = list(paths.values()) if isinstance(paths, Mapping) else paths if isinstance(paths, list) else [paths]
        names = dict.fromkeys(Path(path).name for path in paths if isinstance(path, str) and Path(path).name)
        if not names:
            return str(at(self.manifest, "data.name") or "unknown data")
        first, *others = names
        return f"{first} and {len(others)} more" if len(others) > 1 else " and ".join(names)

    @property
    def architecture(self) -> str:
        """The name of its model, with any parts that replace the model's own."""
        return self.choice("architecture") or self.choice("model") or str(self.manifest["name"])

    def metric(self, name: str) -> float | None:
        """Return a final metric (``validation/loss``), timing (``timings/seconds``) or size (``sizes/...``).

        For a split that validation does not score (``test/loss``), it is the score in :attr:`evaluated`.
        """
        if name not in self.manifest["metrics"] and name.partition("/")[0] not in self.manifest:
            return self.evaluated.get(name)
        metrics = self.manifest["metrics"]
        value = metrics[name] if name in metrics else at(self.manifest, name.replace("/", "."))
        return None if value is None else float(value)

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """The scores of trivial baselines, by name and full name of the metric (``squad/f1``)."""
        baselines: dict[str, dict[str, float]] = {}
        for split, of_split in (self.manifest.get("baselines") or {}).items():
            for name, scores in of_split.items():
                own = {f"{split}/{score}": float(value) for score, value in scores.items()}
                baselines[name] = baselines.get(name, {}) | own
        return baselines

    @property
    def splits(self) -> list[str]:
        """The splits of its data."""
        return list(at(self.manifest, "data.splits") or {})

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of ``evaluations.jsonl``, oldest first; none if the file is damaged."""
        try:
            return [numbers(row) for row in read_jsonl(self.run.path / "evaluations.jsonl")]
        except ValueError:
            return []

    @cached_property
    def evaluated(self) -> dict[str, float]:
        """The scores that ``lmlab evaluate`` recorded, by name (``test/loss``).

        Only scores comparable with a validation: of the final weights, in fixed windows of the length used in training.
        """
        scores: dict[str, float] = {}
        for row in self.evaluations:
            settings = row["settings"]
            if self._is_as_validated(settings):
                for way in ("fixed_window", "answers"):
                    for name, value in row["metrics"].get(way, {}).items():
                        if name in self.measures.metrics and value is not None:
                            scores[f"{settings['split']}/{name}"] = float(value)
        return scores

    def _is_as_validated(self, settings: Mapping[str, Any]) -> bool:
        """Return whether an evaluation's settings are those of a validation, on any split of the run's own data."""
        if settings.get("checkpoint") != "final" or any(
            value is not None for key, value in settings.items() if key not in _SETTINGS
        ):
            return False
        if settings.get("documents", "packed") != (at(self.config, "batch.documents") or "packed"):
            return False
        # Sequences of a task have a length; windows of text are as long as in training.
        length = at(self.manifest, f"data.splits.{settings.get('split')}.length")
        context = at(self.config, "batch.context") if length is None else length
        return bool(settings.get("context") == context)

    @property
    def scores(self) -> dict[str, float | None]:
        """All its metrics by name: those of the final validation, and :attr:`evaluated`."""
        return {**self.evaluated, **self.manifest["metrics"]}

    @cached_property
    def log(self) -> "Log":
        """The rows of metrics, which can be read incrementally while the run goes on."""
        from lmlab.runs.logged import Log

        return Log(self.run.metrics)

    @cached_property
    def curves(self) -> "Curves":
        """The logged metrics (see :mod:`lmlab.runs.logged`), read on first access."""
        from lmlab.analysis.curves import Curves

        self.log.read()
        return Curves(self.log.logged.columns, self.flops_per_token)

    @property
    def flops_per_token(self) -> float:
        """Operations of training on one token; nan if the run did not start."""
        each = at(self.manifest, "sizes.flops_per_token")
        return math.nan if each is None else training_flops(float(each))

    @property
    def training_flops(self) -> float | None:
        """Operations of the run's own training, on the tokens that it saw; ``None`` if unknown."""
        tokens, measured = self.metric("timings/tokens"), self.metric("timings/flops")
        if measured is not None or tokens is None or math.isnan(self.flops_per_token):
            return measured
        return tokens * self.flops_per_token

    @cached_property
    def problems(self) -> list[str]:
        """Problems that affect the run's numbers, one line each; reads its curves.

        Broken, duplicate or missing rows, metrics that are not finite numbers, a changed configuration.
        """
        problems = [f"{name} is {value}" for name, value in self.manifest["metrics"].items() if not _is_finite(value)]
        recorded_identity = self.manifest.get("identity")
        if recorded_identity is not None and identity(self.config) != recorded_identity:
            problems.append("config.yaml does not match the run: it was changed, or written by another version")
        _ = self.curves
        return problems + self.log.problems(self.status in ("running", "created"))


@dataclass(frozen=True)
class Records:
    """The records of several run directories.

    Attributes:
        readable: those that could be read.
        unreadable: the error of each other one, by path.
    """

    readable: list[Record] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def read(runs: Iterable[Run], cache: Path | None = None, home: Path | None = None) -> Records:
    """Read run directories, each once; an unreadable one does not stop the others from being read.

    Args:
        cache, home: see :class:`Record`.
    """
    records = Records()
    for run in runs:
        try:
            records.readable.append(Record.of(run, cache, home))
        except UserError as error:
            records.unreadable[run.path] = str(error)
    return records


def together(records: Iterable[Record]) -> Measures:
    """Return the metrics of several runs (see :meth:`lmlab.metrics.Measures.together`); without runs, those of text.

    Runs that never started have recorded none, and count only if there are no others.
    """
    records = list(records)
    begun = [record.measures for record in records if record.status != "created"]
    return Measures.together(begun or [record.measures for record in records] or [measures_of({})])


def _check(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise ``UserError`` if a manifest lacks a required field, or a field has another type."""
    for name, kind in (_FIELDS | _OPTIONAL).items():
        if not isinstance(manifest.get(name, None if name in _FIELDS else kind()), kind):
            raise UserError(f"{path} is no manifest of a run: {name}={manifest.get(name)!r}")
    if manifest["status"] not in get_args(Status):
        raise UserError(f"{path}: status={manifest['status']}: unknown{nearest(manifest['status'], get_args(Status))}")
    for name, value in manifest["metrics"].items():
        if not isinstance(value, (int, float, type(None))):
            raise UserError(f"{path} is no manifest of a run: metrics.{name}={value!r}")


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
