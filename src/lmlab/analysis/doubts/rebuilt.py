"""What a saved configuration describes, built again on the meta device: without memory or data, in milliseconds."""

import json
from functools import lru_cache
from typing import Any

from lmlab.analysis.records import Record
from lmlab.errors import UserError


def recounted_flops(run: Record) -> int | None:
    """Operations of the forward pass of one token, counted from the saved configuration.

    ``None`` where it cannot be built here: a package or the user's own source file is missing, say.
    """
    found = _rebuilt(*_key(run))
    return None if found is None else found[0]


def evaluates_elsewhere(run: Record) -> bool | None:
    """Whether the optimizer of a run scores other weights than it trains: a mean of them; ``None``: unknown."""
    found = _rebuilt(*_key(run))
    return None if found is None else found[1]


def _key(run: Record) -> tuple[str, str, int, int]:
    model, optimizer = (json.dumps(run.config.get(section), sort_keys=True) for section in ("model", "optimizer"))
    vocabulary = run.manifest.get("data", {}).get("vocabulary") or 0
    return model, optimizer, int(vocabulary), int(run.config.get("batch", {}).get("context", 0))


@lru_cache(maxsize=256)
def _rebuilt(model: str, optimizer: str, vocabulary: int, context: int) -> tuple[int, bool] | None:
    import torch

    from lmlab.config import build
    from lmlab.models.sizes import flops_per_token

    def described(text: str, *arguments: Any, **supplied: Any) -> Any:
        made = build(json.loads(text), **supplied)
        return made(*arguments) if arguments else made

    try:
        with torch.device("meta"):
            network = described(model, vocabulary=vocabulary, context=context)
        averaging = hasattr(described(optimizer, network), "eval")
    # A run directory may come from another version, or from a machine with other packages: anything may be missing.
    except (UserError, ImportError, AttributeError, TypeError, ValueError, RuntimeError):
        return None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("hydra", "omegaconf"):
            return None
        raise
    return flops_per_token(network, context), averaging
