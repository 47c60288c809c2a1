"""Errors 1 and 4: arms with unequal context, and evaluations of different kinds in one column."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lmlab.analysis.commands import score_with, train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import by_arm, differ, subject, text
from lmlab.analysis.doubts.doubt import Finding
from lmlab.analysis.doubts.rebuilt import evaluates_elsewhere
from lmlab.analysis.records import Record
from lmlab.config.nodes import at

DEFINED_BY: Mapping[str, tuple[str, ...]] = {
    "fixed_window": ("documents", "context"),
    "sliding_window": ("documents", "context", "stride"),
    "stateful": ("documents", "context", "streams"),
    "answers": ("context",),
}
"""Settings of ``lmlab evaluate`` that define a metric."""

_WEIGHTS = {
    True: "the mean of its weights",
    False: "its last weights",
    None: "weights that its own optimizer decides on",
}

Settings = tuple[tuple[str, Any], ...]


_OF_DATA = ("split", "data", "shots", "decoding")
"""Settings with which a score is another metric."""


def unequal_context(comparison: Comparison) -> Iterator[Finding]:
    """Find arms that carry state or see other documents where others do not, and scored windows of different length.

    Arms that are about the batch (``batch.context`` itself, say) are doubted, not refused.
    """
    carried = by_arm(comparison, lambda run: bool(at(run.config, "batch.carry_state")))
    if differ(carried):
        yield Finding(
            "refuse",
            f"State is carried from batch to batch in some arms only (batch.carry_state: {text(carried)}), so one "
            "reads the corpus in order with all that came before, another in windows from an empty state. Train all "
            "arms with batch.carry_state=false.",
            comparison.runs,
            train_with(comparison, comparison.runs, "batch.carry_state=false"),
        )
    documents = by_arm(comparison, lambda run: at(run.config, "batch.documents") or "packed")
    if differ(documents):
        yield Finding(
            "doubt" if "batch" in subject(comparison) else "refuse",
            f"Some arms see the documents before one in the same window, others do not (batch.documents: "
            f"{text(documents)}), in training and in validations. Train all arms with one batch.documents.",
            comparison.runs,
            train_with(comparison, comparison.runs, f"batch.documents={next(iter(documents.values()))[0]}"),
        )
    contexts = by_arm(comparison, lambda run: at(run.config, "batch.context"))
    if differ(contexts):
        yield Finding(
            "doubt" if "batch" in subject(comparison) else "refuse",
            f"The windows that are trained on and scored have different lengths (batch.context: {text(contexts)} "
            "tokens), and a longer one lowers the loss by itself. Train all arms with one batch.context.",
            comparison.runs,
            train_with(comparison, comparison.runs, f"batch.context={next(iter(contexts.values()))[0]}"),
        )
    if differ(documents) or differ(contexts):
        return  # evaluations differ for the same reason
    for split, metric, by_run in _scored(comparison):
        if not _in_common([{_without_checkpoint(one) for one in settings} for settings in by_run.values()]):
            lengths = {run.label: sorted({_words(one) for one in settings}) for run, settings in by_run.items()}
            yield Finding(
                "doubt",
                f"{metric} on the split {split} was scored with different settings ({text(lengths)}), so these numbers "
                "of evaluations.jsonl cannot be compared. Score every run with the same documents, context, stride and "
                "streams.",
                list(by_run),
                _score_again(comparison, by_run, split),
            )


def different_evaluations(comparison: Comparison) -> Iterator[Finding]:
    """Find averaged, best or pretrained weights that are compared with weights as training left them."""
    pretrained = by_arm(comparison, lambda run: at(run.config, "model.path"))
    if any(value is not None for paths in pretrained.values() for value in paths):
        some = differ({arm: [value is not None for value in paths] for arm, paths in pretrained.items()})
        yield Finding(
            "refuse" if some else "doubt",
            f"Training began with the weights of a folder (model.path: {text(pretrained)}), which saw other text "
            "before; that is fine-tuning, not the plain training of its neighbours. Train every arm from scratch with "
            "model.path=null.",
            comparison.runs,
            train_with(comparison, comparison.runs, "model.path=null"),
        )
    if differ(by_arm(comparison, lambda run: str(at(run.config, "optimizer._target_")))):
        averaged = by_arm(comparison, evaluates_elsewhere)
        if differ(averaged):
            optimizer = comparison.runs[0].choice("optimizer")
            words = {arm: " or ".join(_WEIGHTS[one] for one in kinds) for arm, kinds in averaged.items()}
            yield Finding(
                "doubt",
                f"The arms are not scored at the same kind of weights: {text(words)}. Averaging lowers a loss by "
                "itself; train all arms with one optimizer.",
                comparison.runs,
                train_with(comparison, comparison.runs, f"optimizer={optimizer}") if optimizer else [],
            )
    for split, metric, by_run in _scored(comparison):
        settings = list(by_run.values())
        if _in_common([{_without_checkpoint(one) for one in some} for some in settings]) and not _in_common(settings):
            which = {run.label: sorted({dict(one)["checkpoint"] for one in some}) for run, some in by_run.items()}
            yield Finding(
                "doubt",
                f"{metric} on the split {split} was scored at different checkpoints ({text(which)}): the best of many "
                "validations is a choice on that split, the final weights are not. Score every run with "
                "checkpoint=final.",
                list(by_run),
                _score_again(comparison, by_run, split),
            )


def _scored(comparison: Comparison) -> Iterator[tuple[str, str, dict[Record, set[Settings]]]]:
    """Yield (split, metric, settings by run) for each metric that runs of two or more arms were scored by."""
    by_metric: dict[tuple[str, str], dict[Record, set[Settings]]] = {}
    arms: dict[tuple[str, str], set[str]] = {}
    for arm in comparison.arms:
        for run in arm.runs:
            for row in run.evaluations:
                settings = row["settings"]
                for metric in row["metrics"]:
                    kept = ("checkpoint", *DEFINED_BY.get(metric, ("context",)))
                    split = ", ".join(str(settings[name]) for name in _OF_DATA if name in settings)
                    key = (split, metric)
                    one = tuple((name, settings.get(name)) for name in kept if name in settings)
                    by_metric.setdefault(key, {}).setdefault(run, set()).add(one)
                    arms.setdefault(key, set()).add(arm.name)
    for (split, metric), by_run in sorted(by_metric.items(), key=lambda item: item[0]):
        if len(arms[split, metric]) > 1:
            yield split, metric, by_run


def _score_again(comparison: Comparison, runs: Iterable[Record], split: str) -> list[str]:
    """Return the command that scores runs on a split; none for other data, whose options are not recorded."""
    return [] if "," in split else [score_with(comparison, runs, split)]


def _in_common(by_run: list[set[Settings]]) -> bool:
    return bool(set.intersection(*by_run))


def _without_checkpoint(settings: Settings) -> Settings:
    return tuple(pair for pair in settings if pair[0] != "checkpoint")


def _words(settings: Settings) -> str:
    return " ".join(f"{name}={value}" for name, value in _without_checkpoint(settings))
