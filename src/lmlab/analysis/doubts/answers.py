"""Errors 15 to 18: metrics by different rules, answers seen in training, different decoding, unknown answers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lmlab.analysis.answers import Evaluation, evaluations
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import by_arm, differ, distinct, text
from lmlab.analysis.doubts.doubt import Finding
from lmlab.config.nodes import at
from lmlab.metrics import score_of, split_of

UNSPELLED = 0.01
"""Share of right answers beyond the vocabulary from which on the score is doubted."""

SEEN = 0.01
"""Share of long right answers that occur in the training text, from which on the score is doubted."""


def different_rules(comparison: Comparison) -> Iterator[Finding]:
    """Find arms whose metric of the same name was computed by different rules, as its signatures say."""
    name = score_of(comparison.metric)
    rules = by_arm(
        comparison, lambda run: at(run.manifest, "data.metrics") and run.manifest["data"]["metrics"].get(name)
    )
    if differ(rules):
        yield Finding("refuse", _by_rules(comparison.label, text(rules)), comparison.runs)
    for scored, arms in evaluations(comparison).items():
        for metric in distinct([name for each in _every(arms) for name in each.about["signatures"]]):
            signatures = {
                arm: distinct([each.about["signatures"].get(metric) for each in every]) for arm, every in arms.items()
            }
            if differ(signatures):
                about = f"{metric} on {scored}"
                yield Finding(
                    _severity(comparison, arms, scored.split, metric), _by_rules(about, text(signatures)), _runs(arms)
                )


def answers_seen_in_training(comparison: Comparison) -> Iterator[Finding]:
    """Find scored examples that the training text of a run contains."""
    for scored, arms in evaluations(comparison).items():
        seen = [each for each in _every(arms) if _is_seen(each.about["overlap"])]
        if seen:
            counts = text(_by(arms, lambda each: _counted(each.about["overlap"])))
            yield Finding(
                "doubt",
                f"The training text contains right answers of {scored} ({counts}), so part of the score is memory. "
                "Train without these examples, or score on others.",
                [each.run for each in seen],
            )


def different_decoding(comparison: Comparison) -> Iterator[Finding]:
    """Find arms whose answers were decoded with different settings."""
    validated = by_arm(comparison, lambda run: at(run.manifest, "data.decoding"))
    if all(setting is not None for of_arm in validated.values() for setting in of_arm) and differ(validated):
        concluded = score_of(comparison.metric) in (at(comparison.runs[0].manifest, "data.metrics") or {})
        yield Finding(
            "refuse" if concluded else "doubt",
            f"The answers of validations were decoded with different settings ({text(validated)}), which changes their "
            "scores with any model. Train all arms with one data.decoding and data.length.",
            comparison.runs,
        )
    for scored, arms in evaluations(comparison).items():
        settings = _by(arms, lambda each: each.about["decoding"])
        if differ(settings):
            yield Finding(
                _severity(comparison, arms, scored.split),
                f"The answers to {scored} were decoded with different settings ({text(settings)}), which changes their "
                "scores with any model. Score all arms with the same.",
                _runs(arms),
            )


def answers_beyond_the_vocabulary(comparison: Comparison) -> Iterator[Finding]:
    """Find arms whose tokenizer cannot write some of the right answers, which lowers the scores of any model."""
    validated = split_of(comparison.metric)
    shares = {
        arm.name: max(_unspelled(at(run.manifest, f"data.splits.{validated}") or {}) for run in arm.runs)
        for arm in comparison.arms
    }
    concluded = score_of(comparison.metric) in (at(comparison.runs[0].manifest, "data.metrics") or {})
    if concluded and max(shares.values()) >= UNSPELLED:
        yield Finding("doubt", _beyond(f"the {validated} split", shares), comparison.runs)
    for scored, arms in evaluations(comparison).items():
        shares = {
            arm: max(_unspelled({**(at(each.row, "data") or {}), "examples": each.about["examples"]}) for each in every)
            for arm, every in arms.items()
        }
        if max(shares.values()) >= UNSPELLED:
            yield Finding("doubt", _beyond(str(scored), shares), _runs(arms))


def _unspelled(counts: Mapping[str, Any]) -> float:
    """Return the share of right answers that a vocabulary cannot write."""
    return float(counts.get("unspelled") or 0) / max(float(counts.get("examples") or 0), 1.0)


def _beyond(scored: str, shares: Mapping[str, float]) -> str:
    words = ", ".join(f"{arm} {share:.1%}" for arm, share in shares.items())
    return (
        f"A tokenizer cannot write some of the right answers of {scored} ({words}): parts of them are unknown to it or "
        "changed, for example to lower case. No model gets these wholly right. Use a tokenizer that writes any text "
        "(bpe or byte)."
    )


def _by_rules(metric: str, rules: str) -> str:
    return (
        f"{metric} was computed by different rules ({rules}), so these are different metrics. Score all arms with one "
        "version of the code and its libraries."
    )


def _severity(
    comparison: Comparison, arms: Mapping[str, list[Evaluation]], split: str, metric: str | None = None
) -> Any:
    """Return ``refuse`` if the conclusion is about these scores."""
    concluded = split == split_of(comparison.metric) and metric in (None, score_of(comparison.metric))
    return "refuse" if concluded and all(each.of_own_data for each in _every(arms)) else "doubt"


def _by(arms: Mapping[str, list[Evaluation]], read: Callable[[Evaluation], Any]) -> dict[str, list[Any]]:
    return {arm: distinct([read(each) for each in every]) for arm, every in arms.items()}


def _every(arms: Mapping[str, list[Evaluation]]) -> list[Evaluation]:
    return [each for every in arms.values() for each in every]


def _runs(arms: Mapping[str, list[Evaluation]]) -> list[Any]:
    return [each.run for each in _every(arms)]


def _is_seen(overlap: Mapping[str, Any]) -> bool:
    long = overlap.get("long_answers", 0)
    return bool(overlap.get("equal")) or bool(long and overlap["answers"] / long >= SEEN)


def _counted(overlap: Mapping[str, Any]) -> str:
    if "unknown" in overlap:
        return "not counted"
    return f"{overlap['equal']:,} of {overlap['examples']:,} examples, {overlap['answers']:,} long answers"
