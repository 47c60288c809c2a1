"""Rebuilding of parts of a saved configuration on the meta device: without memory or data, in milliseconds.

The user's own modules are never imported for this: runs may come from anywhere.
"""

import hashlib
import json
from contextlib import suppress
from functools import lru_cache
from typing import Any

from lmlab.analysis.records import Record
from lmlab.config.nodes import at
from lmlab.config.targets import own_targets
from lmlab.errors import UserError
from lmlab.runs.files import write_text
from lmlab.runs.provenance import package_hash


def recounted_flops(run: Record) -> int | None:
    """Return the operations of the forward pass of one token, counted from the saved configuration.

    ``None`` if it cannot be built here: a package is missing, or it names the user's own modules.
    """
    if names_own_code(run, "model"):
        return None
    vocabulary = int(at(run.manifest, "data.vocabulary") or 0)
    arguments = _text(run, "model"), vocabulary, int(at(run.config, "batch.context") or 0)
    if run.cache is None:
        return _flops(*arguments)
    # Counting imports torch, which takes longer than the rest of a report, so counts are cached by version of the code.
    key = hashlib.sha256(json.dumps([package_hash(), *arguments]).encode()).hexdigest()[:16]
    place = run.cache / "flops" / key
    try:
        return int(place.read_text(encoding="ascii"))
    except (OSError, ValueError):
        counted = _flops(*arguments)
    if counted is not None:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, str(counted))
    return counted


def evaluates_elsewhere(run: Record) -> bool | None:
    """Return whether a run's optimizer evaluates a mean of its weights, not the last ones; ``None`` if unknown."""
    return None if names_own_code(run, "optimizer") else _averages(_text(run, "optimizer"))


def names_own_code(run: Record, section: str) -> bool:
    """Return whether a section of a run's configuration names a user's own modules."""
    try:
        return bool(own_targets(run.config.get(section)))
    except UserError:  # such a section cannot be built at all
        return True


def _text(run: Record, section: str) -> str:
    return json.dumps(run.config.get(section), sort_keys=True)


@lru_cache(maxsize=256)
def _flops(model: str, vocabulary: int, context: int) -> int | None:
    from lmlab.models.sizes import flops_per_token

    network = _built(model, vocabulary=vocabulary, context=context)
    return None if network is None else flops_per_token(network, context)


@lru_cache(maxsize=256)
def _averages(optimizer: str) -> bool | None:
    import torch

    built = _built(optimizer, torch.nn.Linear(2, 2))  # any network will do
    return None if built is None else hasattr(built, "eval")


def _built(text: str, *arguments: Any, **supplied: Any) -> Any | None:
    """Build a section, and call it with ``arguments`` if there are any; ``None`` if it cannot be built here."""
    from lmlab.config.build import build
    from lmlab.models.sizes import without_memory

    try:
        with without_memory():
            built = build(json.loads(text), **supplied)
            return built(*arguments) if arguments else built
    # A run directory may come from another version, or from a machine with other packages: anything may be missing.
    except (UserError, ImportError, AttributeError, TypeError, ValueError, RuntimeError):
        return None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("hydra", "omegaconf"):
            return None
        raise
