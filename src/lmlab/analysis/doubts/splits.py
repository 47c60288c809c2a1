"""Error 14: settings chosen on the split that the conclusion is about."""

from collections.abc import Iterator

from lmlab.analysis.commands import report_with, score_with, train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import SIZES, told, tried, varied
from lmlab.analysis.doubts.doubt import Finding
from lmlab.metrics import TEST, is_averaged, on_split, split_of


def tuned_on_the_same_split(comparison: Comparison) -> Iterator[Finding]:
    """Find arms whose settings were chosen by their scores on the split on which the arms are compared.

    The best of several settings is in part the luckiest on that split. Arms of one setting, or of settings that differ
    in size and budget only, have nothing to choose.
    """
    split = split_of(comparison.metric)
    if split_of(comparison.chosen_by) != split:
        return
    tuned = [arm for arm in comparison.arms if any(not option.startswith(SIZES) for option in varied(comparison, arm))]
    if not tuned:
        return
    remedy, commands = _remedy(comparison)
    counts = {arm.name: len(tried(comparison, arm)) for arm in tuned}
    yield Finding(
        "doubt",
        f"The settings were chosen on the {split} split (settings tried: {told(counts)}), and the conclusion is about "
        f"the same split, on which the best of several settings is in part the luckiest. {remedy}",
        [run for arm in tuned for run in arm.chosen.runs],
        commands,
    )


def _remedy(comparison: Comparison) -> tuple[str, list[str]]:
    """Return advice on how to conclude on another split, and the commands that do so."""
    metric, runs = comparison.metric, comparison.runs
    if is_averaged(metric):
        return "Averaged weights are scored on this split only.", []
    if comparison.measures.metric(metric) is None:
        metric = comparison.measures.primary  # a callback's own metric exists on the validation split only
    for split in (TEST, "longer"):
        if split != split_of(metric) and all(split in run.splits for run in runs):
            other = on_split(metric, split)
            missing = [run for run in runs if run.metric(other) is None]
            score = [score_with(comparison, missing, split)] if missing else []
            return f"{'Score the runs, then conclude' if missing else 'Conclude'} on the {split} split.", [
                *score,
                report_with(comparison, f"metric={other}"),
            ]
    if all("test" in run.config.get("data", {}) for run in runs):
        words = "Train with a test split (data.test=0.05), and conclude on it."
        return words, train_with(comparison, runs, "data.test=0.05")
    return "These data have no test split; to conclude on, they need one.", []
