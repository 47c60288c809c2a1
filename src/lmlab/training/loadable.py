"""Refusing a checkpoint that would run code when it is read: it may be somebody else's, whatever its checksums say."""

import collections
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from lmlab.runs.checkpoints import Damaged

_PLAIN = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
_TYPES: tuple[Any, ...] = (torch.Size, torch.device, torch.serialization._get_layout, collections.OrderedDict)


class _Metadata(pickle.Unpickler):
    """Reads what lists the shards of a checkpoint, which torch itself reads without any protection."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "pathlib" and name.endswith("Path"):
            return super().find_class(module, name)
        if module in _PLAIN or module.partition(".")[0] in ("torch", "collections"):
            named = super().find_class(module, name)
            is_type = isinstance(named, type) and named.__module__ in _PLAIN
            if is_type or isinstance(named, torch.dtype) or any(named is one for one in _TYPES):
                return named
        raise pickle.UnpicklingError(f"{module}.{name}")


def check_loadable(state: Path) -> None:
    """Read a checkpoint's state, a file or a folder of shards, without its tensors.

    Raises:
        Damaged: it holds more than tensors and plain values, or cannot be read.
    """
    metadata = state / ".metadata"
    files = sorted(state.glob("*.pt")) if state.is_dir() else [state]
    try:
        if metadata.exists():
            with metadata.open("rb") as file:
                listed = _Metadata(file).load()
            _check_plain_values(state, listed)
        for path in files:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:  # whose text advises to switch the protection off
        raise Damaged(f"{state.name} holds more than tensors and plain values, and may run code") from error
    except Exception as error:
        raise Damaged(f"{state.name} cannot be read ({type(error).__name__})") from error


def _check_plain_values(folder: Path, metadata: Any) -> None:
    """Read what lies between the tensors of shards. Raises ``UnpicklingError`` where it is no plain value."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    for index, where in metadata.storage_data.items():
        if isinstance(metadata.state_dict_metadata[index.fqn], BytesStorageMetadata):
            with (folder / where.relative_path).open("rb") as file:
                file.seek(where.offset)
                torch.load(io.BytesIO(file.read(where.length)), map_location="cpu", weights_only=True)
