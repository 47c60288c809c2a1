"""Scores of the compared runs on tasks of examples, and their predictions, as ``lmlab evaluate`` recorded them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.config.nodes import at
from lmlab.metrics import Measures
from lmlab.runs.files import numbers, read_jsonl


class Scored(NamedTuple):
    """Examples that runs were scored on, and what their scores depend on besides.

    Attributes:
        data: name of the data.
        fingerprint: of the data.
        decoding: settings of decoding, if there are answers by others as well; otherwise empty.
    """

    data: str
    fingerprint: str
    split: str
    shots: int
    checkpoint: str
    decoding: str = ""

    def __str__(self) -> str:
        shots = f", {self.shots} shots" * bool(self.shots)
        weights = "" if self.checkpoint == "final" else f", weights: {self.checkpoint}"
        decoding = f", {self.decoding}" * bool(self.decoding)
        return f"{self.data}, {self.split} split{shots}{weights}{decoding}"


@dataclass(frozen=True)
class Evaluation:
    """A record of ``lmlab evaluate`` with predictions.

    Attributes:
        run: the scored run.
        row: its line of ``evaluations.jsonl``.
    """

    run: Record
    row: Mapping[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self.row["metrics"]["answers"])

    @property
    def about(self) -> Mapping[str, Any]:
        """The fields about the predictions: decoding, signatures, intervals, overlap and their file."""
        return self.row["predictions"]  # type: ignore[no-any-return]

    @property
    def of_own_data(self) -> bool:
        """True if the run was trained on these data."""
        return "data" not in self.row["settings"]

    @property
    def measures(self) -> Measures:
        recorded = self.row.get("measures")
        return self.run.measures if recorded is None else Measures.of(recorded)

    @cached_property
    def predictions(self) -> dict[int, dict[str, Any]]:
        """The predictions by number of their example; empty if their file is missing or damaged."""
        try:
            rows = read_jsonl(self.run.run.path / self.about["file"])
            return {row["number"]: row for row in rows}
        except (OSError, ValueError, KeyError):
            return {}


def evaluations(comparison: Comparison) -> dict[Scored, dict[str, list[Evaluation]]]:
    """Return the evaluations with predictions of the compared runs by what they scored, then by arm.

    Of a run that was scored several times, by several versions of the code or with several contexts, the newest counts.
    If all of the runs have answers by the same settings of decoding, only such answers are compared.
    """
    by_data: dict[Scored, list[tuple[str, dict[str, Evaluation]]]] = {}  # of each run by decoding, the newest last
    for arm in comparison.arms:
        for run in arm.runs:
            of_run: dict[Scored, dict[str, Evaluation]] = {}
            for scored, evaluation in _of_run(run):
                decoding = str(evaluation.about["decoding"])
                of_run.setdefault(scored, {}).pop(decoding, None)
                of_run[scored][decoding] = evaluation
            for scored, by_decoding in of_run.items():
                by_data.setdefault(scored, []).append((arm.name, by_decoding))
    compared: dict[Scored, dict[str, list[Evaluation]]] = {}
    for scored, runs in by_data.items():
        shared = [each for each in runs[0][1] if all(each in by_decoding for _, by_decoding in runs)]
        for decoding in shared or [""]:
            by_arm = compared.setdefault(scored._replace(decoding=decoding if len(shared) > 1 else ""), {})
            for arm_name, by_decoding in runs:
                evaluation = by_decoding[decoding] if shared else list(by_decoding.values())[-1]
                by_arm.setdefault(arm_name, []).append(evaluation)
    return dict(sorted(compared.items()))


def _of_run(run: Record) -> Iterator[tuple[Scored, Evaluation]]:
    for row in run.evaluations:
        if "file" in row.get("predictions", {}) and "answers" in row["metrics"]:
            settings = row["settings"]
            data = str(at(row, "data.name")), str(at(row, "data.fingerprint"))
            shots, checkpoint = int(settings.get("shots", 0)), str(settings["checkpoint"])
            yield Scored(*data, str(settings["split"]), shots, checkpoint), Evaluation(run, row)


class Side(NamedTuple):
    """An example with the prediction of each arm.

    Attributes:
        predictions: records by arm.
        spread: largest difference between the arms' scores by the primary metric.
    """

    number: int
    predictions: Mapping[str, Mapping[str, Any]]
    spread: float

    @property
    def differ(self) -> bool:
        """True if not all arms gave the same answer."""
        return len({row["prediction"] for row in self.predictions.values()}) > 1


def side_by_side(by_arm: Mapping[str, Sequence[Evaluation]], metric: str) -> list[Side]:
    """Return the examples that all arms answered, by the first run of each that has predictions.

    Args:
        metric: name of the score of a prediction by which the arms' answers are compared.
    """
    answered = {
        arm: rows
        for arm, each in by_arm.items()
        if (rows := next((one.predictions for one in each if one.predictions), {}))
    }
    sides = []
    for number in sorted(set.intersection(*(set(rows) for rows in answered.values()))) if answered else ():
        predictions = {arm: rows[number] for arm, rows in answered.items()}
        first, *others = predictions.values()
        if all(row["references"] == first["references"] for row in others):
            scores = [float(numbers(row.get(metric, 0.0))) for row in predictions.values()]
            sides.append(Side(number, predictions, max(scores) - min(scores)))
    return sides
