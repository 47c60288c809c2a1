"""The libraries that do the mathematics, imported when first needed."""

from importlib import import_module
from typing import Any

from lmlab.errors import UserError


def library(module: str) -> Any:
    """Import ``module`` of scipy. Raises ``UserError`` where the package is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"statistics need the package {package} (pip install 'lmlab[report]')") from error
