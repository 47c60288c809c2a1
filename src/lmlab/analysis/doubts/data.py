"""Errors 2, 3 and 5: different data, tokens not scored exactly once, and scores in different units."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lmlab.analysis.commands import report_with, score_with, train_again, train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import all_equal, by_arm, differ, text
from lmlab.analysis.doubts.doubt import Finding, flawed
from lmlab.analysis.records import Record
from lmlab.config.nodes import at
from lmlab.config.overrides import written
from lmlab.data.fingerprints import streamed_fingerprint
from lmlab.metrics import VALIDATION, score_of, split_of
from lmlab.runs.files import read_json

PER_BYTE = "bits_per_byte"
"""The score of text that does not depend on the tokenizer."""

UNKNOWN = 1e-3
"""Share of unknown tokens above which bits per byte are no longer those of the text."""


def corpus_of(run: Record) -> Any:
    """Return the fingerprint of the text, independent of the tokenizer; for generated data, that of the task."""
    return at(run.manifest, "data.corpus_fingerprint") or at(run.manifest, "data.fingerprint")


def tokenizers_differ(comparison: Comparison) -> bool:
    """Return whether two runs have different tokenizers."""
    return not all_equal([at(run.manifest, "data.tokenizer_fingerprint") for run in comparison.runs])


def fingerprint_among(runs: Iterable[Record]) -> Callable[[Record], Any]:
    """Return the fingerprint by which the data of ``runs`` are compared; data that one of them streams have two."""
    streamed = {streamed_fingerprint(data) for run in runs if (data := at(run.manifest, "data"))}
    some_stream = any(at(run.manifest, "data.fingerprint") in streamed for run in runs)

    def fingerprint(run: Record) -> Any:
        recorded = at(run.manifest, "data.fingerprint")
        has_inputs = at(run.manifest, "data.corpus_fingerprint") is not None
        return streamed_fingerprint(run.manifest["data"]) if some_stream and recorded and has_inputs else recorded

    return fingerprint


def other_data(comparison: Comparison) -> Iterator[Finding]:
    """Find runs on different data, and runs without a record of their data.

    The same text in other tokens is not different data; its comparison depends on the unit (error 5).
    """
    nameless = [run for run in comparison.runs if not at(run.manifest, "data.fingerprint")]
    yield from flawed(
        comparison,
        "refuse",
        nameless,
        "runs have no fingerprint of their data on record, so it is not known which data their scores are of. Train "
        "them again.",
    )
    fingerprints = by_arm(comparison, fingerprint_among(comparison.runs))
    same_text = all_equal([corpus_of(run) for run in comparison.runs])
    if differ(fingerprints) and not nameless and not (same_text and tokenizers_differ(comparison)):
        names = by_arm(
            comparison, lambda run: f"{at(run.manifest, 'data.name')} {str(at(run.manifest, 'data.fingerprint'))[:12]}"
        )
        yield Finding(
            "refuse",
            f"The runs are not on the same data: {text(names)} (name and fingerprint). Compare runs of one corpus and "
            "tokenizer.",
            comparison.runs,
            of_one_data(comparison),
        )
    for arm in comparison.arms:
        own = corpus_of(arm.runs[0])
        others = [run for setting in arm.settings for run in setting.runs if corpus_of(run) != own]
        if others:
            yield Finding(
                "doubt",
                f"Of the runs from which {arm.name} was chosen, {len(others)} are on other data than the chosen ones, "
                "so the choice may be of the easiest data. Compare runs of one corpus.",
                others,
                of_one_data(comparison),
            )


def tokens_not_scored_once(comparison: Comparison) -> Iterator[Finding]:
    """Find arms scored on different parts of a split, or not exactly once on every token."""
    per_byte, split = tokenizers_differ(comparison), split_of(comparison.metric)
    tokens = by_arm(comparison, lambda run: scored_tokens(run, split))
    limits = by_arm(comparison, lambda run: _limit(run, split))
    if not per_byte and differ(tokens):
        yield Finding(
            "refuse",
            f"The arms are scored on different numbers of tokens of the {split} split ({text(tokens)}), so on "
            "different text. Train all with one validation.tokens (null: the whole split).",
            comparison.runs,
            train_with(comparison, comparison.runs, "validation.tokens=null"),
        )
    elif per_byte and any(limit is not None for of_arm in limits.values() for limit in of_arm):
        yield Finding(
            "refuse",
            f"Only the first tokens of the validation split are scored (validation.tokens: {text(limits)}), which are "
            "different text with different tokenizers. Train all with validation.tokens=null.",
            comparison.runs,
            train_with(comparison, comparison.runs, "validation.tokens=null"),
        )
    elif per_byte and differ(size := by_arm(comparison, lambda run: _split(run, split).get("bytes"))):
        yield Finding(
            "refuse",
            f"The {split} splits have different sizes ({text(size)} bytes), so they are different text. Compare "
            "runs of one corpus.",
            comparison.runs,
            of_one_data(comparison),
        )
    for run in comparison.runs:
        expected, counted = scored_tokens(run, "validation"), _broken_down(run)
        whole = _split(run, "validation").get("tokens")
        if counted is not None and expected is not None and whole is not None and counted not in (expected, whole):
            yield Finding(
                "refuse",
                f"{run.label} was scored on {counted:,} tokens of a validation split that has {expected:,} to score: "
                "some were left out or counted twice. Train it again.",
                [run],
                train_again(comparison, [run]),
            )
        for row in run.evaluations:
            if "data" in row["settings"]:  # a split of other data
                continue
            whole = _split(run, str(row["settings"].get("split"))).get("tokens")
            for metric, scores in row["metrics"].items():
                if whole is not None and scores.get("tokens") not in (None, whole):
                    yield Finding(
                        "doubt",
                        f"{metric} of {run.label} scored {scores['tokens']:,} of the {whole:,.0f} tokens of the split "
                        f"{row['settings'].get('split')}. Score it again.",
                        [run],
                        [score_with(comparison, [run], str(row["settings"].get("split")))],
                    )


def metrics_across_tokenizers(comparison: Comparison) -> Iterator[Finding]:
    """Find scores per token between arms with different tokenizers, and bits per byte that differ in their bytes.

    Runs of earlier versions do not record which of their metrics are per token: of theirs, only bits per byte are not.
    """
    if not tokenizers_differ(comparison):
        return
    vocabularies = by_arm(comparison, lambda run: at(run.manifest, "data.vocabulary"))
    split, per_byte = split_of(comparison.metric), score_of(comparison.metric) == PER_BYTE
    metric, is_text = comparison.measures.metric(comparison.metric), PER_BYTE in comparison.measures.metrics
    declared = None if metric is None else metric.per_token
    if declared or (declared is None and not per_byte):
        per_token = declared or (is_text and metric is not None)
        yield Finding(
            "refuse" if per_token else "doubt",
            f"{comparison.label} {'is' if per_token else 'may be'} per token, and the tokens are not the same: "
            f"vocabularies of {text(vocabularies)} types. {f'Compare by {PER_BYTE}, or train' if is_text else 'Train'} "
            "all arms with one tokenizer.",
            comparison.runs,
            [report_with(comparison, f"metric={split}/{PER_BYTE}")] if is_text else [],
        )
        return
    if not per_byte:
        return
    shares = {arm.name: max(_unknown(run, split) for run in arm.runs) for arm in comparison.arms}
    if any(shares.values()):
        words = ", ".join(f"{arm} {share:.2%}" for arm, share in shares.items())
        yield Finding(
            "refuse" if max(shares.values()) > UNKNOWN else "doubt",
            f"A tokenizer reads part of the text as unknown ({words} of the tokens), and an unknown token costs less "
            "than the text behind it, so these are not bits per byte of one text. Use a tokenizer without unknown "
            "tokens (bpe or byte).",
            comparison.runs,
            train_with(comparison, comparison.runs, "tokenizer=bpe"),
        )


def of_one_data(comparison: Comparison) -> list[str]:
    """Return the command of the same report on the first corpus only; empty if no option selects it."""
    option = one_data(comparison)
    return [] if option is None else [report_with(comparison, option)]


def one_data(comparison: Comparison) -> str | None:
    """Return the report option that selects one corpus; ``None`` if there is only one, or no option selects one."""
    every = comparison.all_runs
    choices = sorted({name for run in every if (name := run.choice("data"))})
    if len(choices) > 1:
        return f"+where.data={choices[0]}"
    paths = [at(run.config, "data.paths") for run in every]
    if not paths or paths[0] is None or all_equal(paths):
        return None
    return f"+where.data.paths={written(paths[0])}"


def scored_tokens(run: Record, split: str) -> int | None:
    """Return the number of scored tokens (of a generated task, sequences) of a split; ``None`` if not recorded.

    Validations score the first ``validation.tokens``; ``lmlab evaluate`` scores all tokens of the other splits.
    """
    recorded = _split(run, split)
    whole = recorded.get("tokens", recorded.get("sequences"))
    limit = at(run.config, "validation.tokens") if "tokens" in recorded and split == VALIDATION else None
    return None if whole is None else int(whole) if limit is None else min(int(whole), int(limit))


def _broken_down(run: Record) -> int | None:
    """Return the number of tokens that ``breakdown.json`` counts by position; ``None`` if there are none."""
    try:
        rows = read_json(run.run.path / "breakdown.json")["position"]
    except (OSError, ValueError, KeyError):
        return None
    return sum(int(row["tokens"]) for row in rows) or None


def _limit(run: Record, split: str) -> int | None:
    """Return ``validation.tokens`` if it leaves out part of the split."""
    if split != VALIDATION:
        return None
    whole, limit = _split(run, split).get("tokens"), at(run.config, "validation.tokens")
    return None if limit is None or whole is None or limit >= whole else int(limit)


def _split(run: Record, split: str) -> dict[str, Any]:
    return at(run.manifest, f"data.splits.{split}") or {}


def _unknown(run: Record, split: str) -> float:
    """Return the share of a split's tokens that the tokenizer does not know."""
    counts = _split(run, split)
    return float(counts.get("unknown") or 0) / max(float(counts.get("tokens") or 0), 1.0)
