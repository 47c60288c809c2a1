"""A trained model, as a run directory left it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model

from lmlab.config import Config, build, validate
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import UserError
from lmlab.models.language_model import LanguageModel
from lmlab.runs.checkpoints import checksum
from lmlab.runs.content import code_checksum
from lmlab.runs.provenance import code_fingerprint
from lmlab.runs.run import Run
from lmlab.runs.trust import adopt
from lmlab.targets import resolve_target


@dataclass(frozen=True)
class Trained:
    """A run's network in evaluation mode, its tokenizer and its configuration."""

    run: Run
    config: Config
    model: LanguageModel
    tokenizer: Tokenizer
    context: int
    code: str
    """fingerprint of the code that it is made of (see :mod:`lmlab.runs.provenance`)"""


def load_trained(run: Run, which: str = "final", device: str = "cpu", trust: bool = False) -> Trained:
    """Rebuild the network of ``run`` from its own saved config and load its weights.

    The user's own modules are those of the run's copy, in this process and until another run is loaded.

    Args:
        which: ``final`` for the weights at the end, ``best`` for those of the best validation.
        trust: also run modules of a run directory that this user has not signed.

    Raises:
        UserError: the run has no such weights, or a file is damaged or does not fit the configuration, or its code may
            not be run.
    """
    if which not in ("final", "best"):
        raise UserError(f"checkpoint={which}: expected final or best")
    path = run.weights if which == "final" else run.best
    if not path.exists():
        if run.status == "finished":
            raise UserError(
                f"{run.path}: its {which} weights are gone; lmlab reproduce run={run.id} computes them anew"
            )
        raise UserError(f"{run.path}: there are no {which} weights, the run is {run.status}; lmlab train finishes it")
    recorded = run.manifest.get("weights", {}).get(path.name)  # once it is finished
    if recorded is not None and checksum(path) != recorded:
        raise UserError(
            f"{path}: the weights are not those that were written; lmlab reproduce run={run.id} computes them anew"
        )
    adopt(run, trust)
    config = run.config
    code = code_fingerprint({"content": {"code": code_checksum(config) or ""}})
    for section in ("model", "data", "tokenizer"):
        validate(config[section], section)
    tokenizer = load_tokenizer(run.tokenizer, cast(Any, resolve_target(config["tokenizer"]["_target_"], "tokenizer")))
    context = config["batch"]["context"]
    with torch.device(device):
        model = build(config["model"], vocabulary=tokenizer.size, context=context)
    load_weights(model, path, device)
    return Trained(run, config, model.eval(), tokenizer, context, code)


def load_weights(model: torch.nn.Module, path: Path, device: Any = "cpu") -> None:
    """Load ``path`` (safetensors) into ``model``. Raises ``UserError`` if it is not what it should be."""
    try:
        load_model(model, path, device=str(device))
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{path}: the weights cannot be loaded ({str(error).splitlines()[0]})") from error
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise UserError(f"{path}: weights are NaN or infinite, the run diverged: there is nothing to score or sample")
