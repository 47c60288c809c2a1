"""Run directories of other versions of lmlab: older ones are converted when read, newer ones are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.config.nodes import Config, at, parent_of
from lmlab.errors import UserError
from lmlab.metrics import DIRECTIONS, Measures, Metric

VERSION = 2
"""Version of the run directory's format; it increases when older versions of lmlab would misread it.

Version 2 records of each metric whether it depends on the tokenizer, which readers of version 1 call an invalid record.
"""

_ADDED: Mapping[str, Any] = {
    "execution": {},
    "start": {"run": None, "checkpoint": "final", "optimizer": False, "embeddings": None},
    "trainer.nodes": 1,
    "trainer.tensor_parallel": 1,
    "trainer.activation_checkpointing": False,
    "trainer.out_of_memory": "halve",
}
"""Options added after version 0 (which has no number), with the values that earlier runs used.

Options with a default in a constructor need no entry, unless the code reads them from the configuration itself.
"""

_BITS_PER_BYTE = Metric("bits_per_byte", "bits/byte", "lower", "{:.4f}", "bits")
_LOSS = Metric("loss", "loss (nats/token)", "lower", "{:.4f}", "nats")
_PERPLEXITY = Metric("perplexity", "perplexity", "lower", "{:,.2f}")
_ACCURACY = Metric("accuracy", "accuracy", "higher", "{:.1%}")
_CALIBRATION_ERROR = Metric("calibration_error", "calibration error", "lower", "{:.3f}")
_TEXT = Measures(
    "validation/bits_per_byte",
    ("validation/bits_per_byte", "validation/loss"),
    {one.name: one for one in (_BITS_PER_BYTE, _LOSS, _PERPLEXITY, _ACCURACY, _CALIBRATION_ERROR)},
)
"""Metrics of runs on text that did not record them."""
_GENERATED = Measures(
    "validation/accuracy",
    ("validation/accuracy", "validation/loss", "longer/accuracy"),
    {one.name: one for one in (_ACCURACY, _LOSS, _PERPLEXITY, _CALIBRATION_ERROR)},
)
"""Metrics of runs on generated tasks that did not record them."""


def read_config(config: Config) -> Config:
    """Return the saved configuration of a run of any version, completed by options added later."""
    for key, value in _ADDED.items():
        section, last = parent_of(config, key)
        section.setdefault(last, value)
    return config


def check_version(record: Mapping[str, Any], newest: int, path: Path, kind: str) -> None:
    """Refuse a directory of a version that this lmlab does not know.

    Args:
        record: the content of its file, with ``version``.
        newest: the newest known version.
        kind: the kind of directory, for the message.

    Raises:
        UserError: the version is newer, or no number.
    """
    version = record["version"]
    if not isinstance(version, int) or version > newest:
        writer = at(record, "provenance.packages.lmlab")
        by = f" by lmlab {writer}" if writer else ""
        raise UserError(
            f"{path}: written in version {version} of the {kind} directory{by}; this lmlab reads versions up to "
            f"{newest}, so a newer lmlab is needed"
        )


def read_manifest(manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the manifest of the run at ``path``, completed by the version and the metrics of its data.

    Raises:
        UserError: the version is unknown, or the record of metrics is invalid.
    """
    manifest = {"version": 0, **manifest}
    check_version(manifest, VERSION, path, "run")
    if isinstance(manifest.get("data"), dict) and manifest["data"] and "measures" not in manifest:
        manifest["measures"] = measures_of(manifest).to_record()
    if "measures" in manifest and not _are_measures(manifest["measures"]):
        raise UserError(f"{path}/run.json is no manifest of a run: measures={manifest['measures']!r}")
    return manifest


def read_heartbeat(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of ``progress.json`` of any version, with metrics by name."""
    earlier = {"validation/bits_per_byte": "validation_bits_per_byte", "validation/loss": "validation_loss"}
    measured = {name: value for name, key in earlier.items() if (value := fields.pop(key, None)) is not None}
    return {"metrics": measured, **fields}


def measures_of(manifest: Mapping[str, Any]) -> Measures:
    """Return the metrics of a run from a manifest that :func:`read_manifest` returned; without data, those of text."""
    if "measures" in manifest:
        return Measures.of(manifest["measures"])
    return _GENERATED if at(manifest, "data.licence") == "generated" else _TEXT


def _are_measures(record: Any) -> bool:
    """Return whether ``record`` is a valid record of :class:`lmlab.metrics.Measures` that shows only metrics it has."""
    try:
        measures = Measures.of(record)
        for metric in measures.metrics.values():
            _ = metric.form.format(0.0), DIRECTIONS[metric.better]
        return all(measures.metric(name) is not None for name in (measures.primary, *measures.shown))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError):
        return False
