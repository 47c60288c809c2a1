"""Run directories of other versions of lmlab: older ones are converted when read, newer ones are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.config.nodes import Config, at
from lmlab.errors import UserError
from lmlab.metrics import DIRECTIONS, Measures, Metric

VERSION = 1
"""Version of the run directory's format; it increases when older versions of lmlab would misread it."""

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
        *parents, last = key.split(".")
        section: Any = config
        for parent in parents:
            section = section.get(parent, {})
        section.setdefault(last, value)
    return config


def read_manifest(manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the manifest of the run at ``path``, completed by the version and the metrics of its data.

    Raises:
        UserError: the version is newer, or the record of metrics is invalid.
    """
    manifest = {"version": 0, **manifest}
    if manifest["version"] > VERSION:
        writer = at(manifest, "provenance.packages.lmlab") or "unknown"
        raise UserError(
            f"{path}: written in version {manifest['version']} of the run directory by lmlab {writer}; "
            f"this lmlab reads versions up to {VERSION}"
        )
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
