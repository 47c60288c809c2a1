"""Build networks on the meta device, to inspect shapes without allocating memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def without_memory() -> Iterator[None]:
    """Create tensors on the meta device, where they have no values, and draw none."""
    with torch.device("meta"), _WithoutDraws():
        yield


class _WithoutDraws(TorchDispatchMode):
    """Skips random initialisation of meta tensors, which torch implements slowly in Python."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and func._schema.name.endswith("_") and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
