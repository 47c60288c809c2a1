"""Where the results come from: code, packages, hardware, data."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import of_runs
from lmlab.analysis.report.document import Cell, Column, Section, Table
from lmlab.runs.files import dumps

_FACTS = {
    "code": ("provenance", "code"),
    "git commit": ("provenance", "git", "commit"),
    "uncommitted changes": ("provenance", "git", "dirty"),
    "Python": ("provenance", "python"),
    "platform": ("provenance", "platform"),
    "processor": ("provenance", "hardware", "processor"),
    "GPUs": ("provenance", "hardware", "gpus"),
    "device": ("timings", "device"),
    "compiled": ("training", "compiled"),
    "data": ("data", "name"),
    "licence of the data": ("data", "licence"),
    "fingerprint of the data": ("data", "fingerprint"),
    "fingerprint of the corpus": ("data", "corpus_fingerprint"),
    "fingerprint of the tokenizer": ("data", "tokenizer_fingerprint"),
}


def provenance(comparison: Comparison) -> Section | None:
    """Everything on record that could explain a different result, with how many of the runs it is true of."""
    runs = comparison.runs
    counts = Counter(fact for run in runs for fact in _facts(run))
    if not counts:
        return None
    order = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in counts))}
    rows: list[list[Cell]] = [
        [name, value, n] for (name, value), n in sorted(counts.items(), key=lambda pair: order[pair[0][0]])
    ]
    note = f"Of the {len(runs)} runs that the conclusion rests on. Fingerprints are the start of a SHA-256 hash."
    columns = [Column("what"), Column("value"), Column("runs")]
    return Section(
        "Provenance",
        [Table("provenance", f"Where the results come from: runs on {of_runs(comparison)}", columns, rows, note)],
    )


def _facts(run: Record) -> Iterator[tuple[str, str]]:
    for name, path in _FACTS.items():
        node: Any = run.manifest
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            yield name, _written(name, node)
    for package, version in run.manifest.get("provenance", {}).get("packages", {}).items():
        if version is not None:
            yield package, str(version)


def _written(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else dumps(value)
    return text[:16] if name.startswith("fingerprint") or name == "git commit" else text
