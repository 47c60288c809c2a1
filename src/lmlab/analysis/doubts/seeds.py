"""Error 13: one seed, few seeds, or seeds that do not pair."""

from collections.abc import Iterator, Sequence

from lmlab.analysis.commands import train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import by_arm, differ, subject, text
from lmlab.analysis.doubts.doubt import Finding
from lmlab.config.nodes import at
from lmlab.runs import events

FEW = 3
"""Fewer seeds than this give an interval too wide to be useful: with two, 12.7 standard errors."""


def too_few_seeds(comparison: Comparison) -> Iterator[Finding]:
    """Find arms without an interval or with a very wide one, and arms that cannot be paired by seed and data order."""
    seeds = {arm.name: sorted(arm.scores(comparison.metric)) for arm in comparison.arms}
    every = sorted({seed for of_arm in seeds.values() for seed in of_arm})
    few = [arm for arm in comparison.arms if len(seeds[arm.name]) < FEW]
    if few:
        least = min(len(seeds[arm.name]) for arm in few)
        counts = {arm: len(of_arm) for arm, of_arm in seeds.items()}
        why = (
            "one seed has no interval, so a difference cannot be told from chance"
            if least == 1
            else f"{least} seeds give an interval of many standard errors"
        )
        yield Finding(
            "refuse" if least == 1 and len(comparison.arms) > 1 else "doubt",  # one arm is compared with nothing
            f"Number of seeds: {text(counts)}; {why}. Train every arm with {FEW} seeds or more.",
            [run for arm in few for run in arm.runs],
            _with_seeds(comparison, sorted({*every, *range(1, FEW + 3)})),
        )
    missing = {arm: [seed for seed in every if seed not in of_arm] for arm, of_arm in seeds.items()}
    if any(missing.values()):
        words = "; ".join(
            f"{arm} has no seed {', '.join(map(str, absent_seeds))}"
            for arm, absent_seeds in missing.items()
            if absent_seeds
        )
        absent = sorted({seed for absent_seeds in missing.values() for seed in absent_seeds})
        yield Finding(
            "doubt",
            f"The arms do not have the same seeds ({words}), so not all runs can be paired. Train every arm with "
            f"seed={','.join(map(str, absent))} too.",
            comparison.runs,
            _with_seeds(comparison, every),
        )
    yield from _order(comparison)


def _with_seeds(comparison: Comparison, seeds: Sequence[int]) -> list[str]:
    """Return commands that train every arm with these seeds; finished runs are not trained again."""
    values = ",".join(map(str, seeds))
    return train_with(
        comparison, comparison.runs, f"seed={values}" if comparison.study is None else f"study.seeds=[{values}]"
    )


def _order(comparison: Comparison) -> Iterator[Finding]:
    """Find runs of one seed that did not read the same batches."""
    sizes = by_arm(comparison, lambda run: at(run.config, "batch.size"))
    if differ(sizes) and "batch" not in subject(comparison):
        yield Finding(
            "doubt",
            f"Runs of one seed did not read the same batches (batch.size: {text(sizes)}), so pairing them by seed "
            "removes less of the variance. Train all arms with one batch.size.",
            comparison.runs,
            train_with(comparison, comparison.runs, f"batch.size={next(iter(sizes.values()))[0]}"),
        )
    rolled_back = [run for run in comparison.runs if events.done(run.run, "roll_back")]
    if rolled_back:
        yield Finding(
            "doubt",
            f"{len(rolled_back)} of {len(comparison.runs)} runs went back and left out batches after a bad step "
            "(events.jsonl), so they did not read what others of their seed did. Train them with a smaller "
            "optimizer.lr, or callbacks.bad_steps.spike=null.",
            rolled_back,
            train_with(comparison, comparison.runs, "callbacks.bad_steps.spike=null"),
        )
