"""Comparisons of synthetic runs whose final losses a test names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import write_run

from lmlab.analysis.comparison import Arm, Comparison, Setting, compare_by
from lmlab.analysis.records import Record, read
from lmlab.analysis.report.document import Chart, Section, Table
from lmlab.config.identity import identity
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run

LSTM = {1: 1.50, 2: 1.51, 3: 1.49, 4: 1.505, 5: 1.495}
TRANSFORMER = {1: 1.43, 2: 1.43, 3: 1.43, 4: 1.435, 5: 1.42}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "runs"


@pytest.fixture
def arm(folder: Path) -> Callable[..., list[Run]]:
    """Write the runs of an arm, one a seed, that end with exactly these losses."""

    def written(model: str, losses: Mapping[int, float], **fields: Any) -> list[Run]:
        return [
            write_run(folder, f"model={model}", seed=seed, loss=loss, noise=0.0, **fields)
            for seed, loss in losses.items()
        ]

    return written


@pytest.fixture
def compared(folder: Path) -> Callable[..., Comparison]:
    """Compare everything that has been written, by loss unless a test says otherwise."""

    def made(
        metric: str = "validation/loss", baseline: str | None = None, arm: tuple[str, ...] = ("model",)
    ) -> Comparison:
        return compare_by(read(all_runs(folder)).readable, arm, metric, baseline)

    return made


@pytest.fixture
def with_diverged(folder: Path) -> Callable[[], Comparison]:
    """Everything that has been written, by loss and model, those runs among it that diverged."""

    def made() -> Comparison:
        arms: dict[str, dict[str, list[Record]]] = {}
        for record in read(all_runs(folder)).readable:
            setting = identity({**record.config, "seed": 0})
            arms.setdefault(str(record.choice("model")), {}).setdefault(setting, []).append(record)
        found = [(name, [Setting(runs) for runs in settings.values()]) for name, settings in arms.items()]
        chosen = [max(settings, key=lambda setting: len(setting.runs)) for _, settings in found]
        return Comparison("validation/loss", [Arm(*one, best) for one, best in zip(found, chosen, strict=True)])

    return made


def tables(section: Section) -> dict[str, Table]:
    return {part.name: part for part in section.parts if isinstance(part, Table)}


def charts(section: Section) -> dict[str, Chart]:
    return {part.name: part for part in section.parts if isinstance(part, Chart)}


@pytest.fixture
def table() -> Callable[[Section | None, str], list[dict[str, Any]]]:
    """A table of a section as rows by heading."""

    def rows(section: Section | None, name: str) -> list[dict[str, Any]]:
        assert section is not None
        found = tables(section)[name]
        assert all(len(row) == len(found.columns) for row in found.rows)
        return [dict(zip([c.heading for c in found.columns], row, strict=True)) for row in found.rows]

    return rows


@pytest.fixture
def chart() -> Callable[[Section | None, str], Chart]:
    """A chart of a section; all its series are as long as their axes."""

    def found(section: Section | None, name: str) -> Chart:
        assert section is not None
        one = charts(section)[name]
        for series in one.series:
            assert series.x.keys() == one.x.keys()
            for values in (*series.x.values(), series.low, series.high, series.details):
                assert values is None or len(values) == len(series.y)
        return one

    return found


@pytest.fixture
def losses() -> tuple[dict[int, float], dict[int, float]]:
    """Of an LSTM and a Transformer, five seeds each."""
    return LSTM, TRANSFORMER
