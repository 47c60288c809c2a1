"""The canonical form of a composed configuration, and the folder of configurations."""

import typing
from pathlib import Path
from typing import Any

from lmlab.config.local_data import with_paths
from lmlab.config.nodes import Config
from lmlab.config.overrides import written
from lmlab.config.pattern import of_mixture, of_pattern
from lmlab.config.references import explained
from lmlab.errors import UserError
from lmlab.numerals import amount
from lmlab.surroundings import expanded

CONF = next(path for path in (Path(__file__).parents[1] / "conf", Path(__file__).parents[3] / "conf") if path.is_dir())
"""The folder of Hydra configurations: inside the package when installed, at the top level in a checkout."""


def canonical(composed: Any) -> Config:
    """Return the plain, fully resolved form of a composed config.

    Raises:
        UserError: a mandatory value (``???``) is missing, or an interpolation cannot be resolved.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            raise UserError(f"{missing[0]} has no value: give one as {missing[0]}=...")
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(explained(error)) from error
    assert isinstance(plain, dict)
    for key, value in (plain.get("paths") or {}).items():
        if not isinstance(value, str | None) or value == "" or (value is None and key != "corpora"):
            raise UserError(f"paths.{key}={written(value)}: expected a folder")
        plain["paths"][key] = value and str(expanded(value))
    budget = plain.get("budget")
    if isinstance(budget, dict) and isinstance(tokens := budget.get("tokens"), str):  # as 10M
        budget["tokens"] = amount(tokens) or tokens
    if isinstance(plain.get("data"), dict):
        plain["data"] = with_paths(plain["data"])
    if isinstance(plain.get("model"), dict) and plain["model"].get("pattern") is not None:
        plain["model"] |= of_pattern(plain["model"])
    if isinstance(plain.get("data"), dict) and "weights" in plain["data"] and "parts" in plain["data"]:
        plain["data"]["parts"] = of_mixture(plain["data"])
    return typing.cast(Config, plain)
