"""Error 9: differences between arms beyond what they are about: options, code, packages, devices."""

from collections.abc import Iterator, Sequence
from typing import Any

from lmlab.analysis.commands import train_again, train_with
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts.arms import (
    all_equal,
    by_arm,
    differ,
    differences_between,
    distinct,
    short,
    subject,
    text,
    varied,
)
from lmlab.analysis.doubts.doubt import Finding, flawed
from lmlab.analysis.options import ABSENT
from lmlab.analysis.records import Record
from lmlab.config.nodes import at, differences
from lmlab.config.overrides import written
from lmlab.config.targets import targets
from lmlab.errors import UserError
from lmlab.runs.content import checksum_of
from lmlab.runs.trust import read_code

ELSEWHERE = ("data.", "budget.", "batch.", "validation.tokens")
"""Options that other errors cover."""

HARMLESS = ("log_every", "trainer.accelerator", "trainer.compile")
"""Options without influence on a result, or whose effect is recorded: the device, compilation."""

SHOWN = 6
"""Number of differences that a text names; :func:`differences_between` returns all."""

NO_RESULT = ("lmlab", "wandb")
"""Packages whose version is ignored: lmlab's own code has a fingerprint, W&B computes nothing."""


def hidden_differences(comparison: Comparison) -> Iterator[Finding]:
    """Find differences that the arms are not about and that were not tuned."""
    yield from _options(comparison)
    yield from _code(comparison)
    yield from _environment(comparison)
    yield from _device(comparison)


def _options(comparison: Comparison) -> Iterator[Finding]:
    about = tuple(f"{section}." for section in subject(comparison))
    tuned = {option for arm in comparison.arms for option in varied(comparison, arm)}
    differing = [
        (option, values)
        for option, values in differences_between(comparison)
        if not option.startswith((*about, *ELSEWHERE, "content."))
        and option not in (*HARMLESS, *tuned, *subject(comparison))
        and not all_equal([value for value in values.values() if value is not ABSENT])
    ]
    if differing:
        words = "; ".join(f"{option}: {text(values)}" for option, values in differing[:SHOWN])
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        yield Finding(
            "doubt",
            f"The arms differ in {len(differing)} options besides what they are about, and any of them may be the "
            f"reason: {words}{more}. Train all arms with the same, or tune them in every arm.",
            comparison.runs,
            _alike(comparison, differing),
        )


def _alike(comparison: Comparison, differing: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return commands that train all arms with the options of the first; empty if they cannot be typed."""
    options = [(option, next(iter(values.values()))) for option, values in differing]
    if len(options) > SHOWN or any(value is ABSENT or option.endswith("_target_") for option, value in options):
        return []
    return train_with(comparison, comparison.runs, *(f"{option}={written(value)}" for option, value in options))


def _code(comparison: Comparison) -> Iterator[Finding]:
    """Find runs on different or unknown source code, and uncommitted changes."""
    nameless = [run for run in comparison.runs if not _codes(run)]
    yield from flawed(
        comparison,
        "doubt",
        nameless,
        "runs have no fingerprint of their code on record. Train them again.",
    )
    files = {run: _own_files(run) for run in comparison.runs if own_modules(run)}
    by_own_code: dict[Any, list[Record]] = {}
    for run in comparison.runs:  # an arm's own modules do not make another version of lmlab
        own = at(run.config, "content.code") if files.get(run) else own_modules(run)
        by_own_code.setdefault(own, []).append(run)
    mixed = [runs for runs in by_own_code.values() if len({code for run in runs for code in _codes(run)}) > 1]
    if mixed:
        codes = distinct([code for runs in mixed for run in runs for code in _codes(run)])
        yield Finding(
            "doubt",
            f"The runs were computed by {len(codes)} versions of the code ({', '.join(map(short, codes))}). Train "
            "them again with one (lmlab reproduce says whether a result is still the same).",
            [run for runs in mixed for run in runs],
            train_again(comparison, [run for runs in mixed for run in runs]),
        )
    names = sorted({name for own in files.values() for name in own})
    differing = [name for name in names if len({own[name] for own in files.values() if name in own}) > 1]
    if differing and subject(comparison) != {"content"}:
        yield Finding(
            "doubt",
            f"The runs have different versions of your own {', '.join(differing[:SHOWN])} (see code/ in their "
            "directories). Train all of them with one.",
            [run for run, own in files.items() if not own.keys().isdisjoint(differing)],
            train_with(comparison, [run for run, own in files.items() if not own.keys().isdisjoint(differing)]),
        )
    dirty = [run for run in comparison.runs if at(run.manifest, "provenance.git.dirty")]
    yield from flawed(
        comparison,
        "doubt",
        dirty,
        "runs were computed from a checkout with uncommitted changes, which the commit on record does not have "
        "(git.diff in their directories does). Commit, and train them again.",
    )


def _environment(comparison: Comparison) -> Iterator[Finding]:
    """Find different versions of the project, of packages or of Python."""
    first, differing = comparison.runs[0], dict[str, list[Any]]()
    for run in comparison.runs[1:]:
        for name, pair in differences(_versions(first), _versions(run)).items():
            differing[name] = distinct([*differing.get(name, []), *pair])
    if differing:
        words = "; ".join(f"{name} {' and '.join(map(short, values))}" for name, values in differing.items())
        yield Finding(
            "doubt",
            f"The runs were computed in different environments ({words}). Train them again in one.",
            comparison.runs,
            train_again(comparison, comparison.runs),
        )


def _device(comparison: Comparison) -> Iterator[Finding]:
    """Find arms on different devices, and compiled beside uncompiled arms: their times cannot be compared."""
    compiled = by_arm(comparison, lambda run: bool(at(run.manifest, "training.compiled")))
    if differ(compiled):
        yield Finding(
            "doubt",
            f"Not all arms were compiled ({text(compiled)}), so their times and throughputs are not comparable. "
            "Train all with one trainer.compile.",
            comparison.runs,
            train_again(comparison, comparison.runs, "trainer.compile=false"),
        )
    devices = {arm: sorted(map(str, of_arm)) for arm, of_arm in by_arm(comparison, device_of).items()}
    if len({tuple(of_arm) for of_arm in devices.values()}) > 1:
        yield Finding(
            "doubt",
            f"The arms were not trained on the same devices ({text(devices)}): times, energy and throughput are not "
            "comparable, and losses differ by rounding. Train all arms on one kind of device.",
            comparison.runs,
        )


def own_modules(run: Record) -> tuple[str, ...]:
    """Return the user's own modules that a configuration names; their source is part of the code fingerprint."""
    try:
        named = {target.rpartition(".")[0] for target, _, _ in targets(run.config)}
    except UserError:  # arguments by position, which this version refuses
        return ()
    return tuple(sorted(module for module in named if module.partition(".")[0] not in ("lmlab", "torch")))


def _own_files(run: Record) -> dict[str, str]:
    """Return the checksums of the user's files that a run keeps a copy of, by path; none of them is executed."""
    try:
        return {name: checksum_of({name: content}) for name, content in read_code(run.run.code).items()}
    except OSError:
        return {}


def device_of(run: Record) -> str:
    """Return the GPU that a run trained on, or the processor; ``unknown`` if neither is recorded."""
    hardware = at(run.manifest, "provenance.hardware") or {}
    gpus = hardware.get("gpus") if at(run.config, "trainer.accelerator") != "cpu" else None
    return " + ".join(distinct(gpus)) if gpus else str(hardware.get("processor") or "unknown")


def _codes(run: Record) -> list[str]:
    """Return the code fingerprints of all attempts at a run; if they have none, that of its creation."""
    attempts = distinct([attempt["code"] for attempt in run.manifest.get("attempts", []) if attempt.get("code")])
    return attempts or [code for code in [at(run.manifest, "provenance.code")] if code]


def _versions(run: Record) -> dict[str, Any]:
    packages = at(run.manifest, "provenance.packages") or {}
    return {
        "run directory": run.manifest.get("version"),
        "lmlab": packages.get("lmlab"),
        "python": at(run.manifest, "provenance.python"),
        **{name: version for name, version in packages.items() if name not in NO_RESULT},
    }
