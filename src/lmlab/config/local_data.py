"""Local text in splits of its own: ``data.train=``, ``data.validation=`` and ``data.test=`` as ``data.paths``."""

from typing import Any

from lmlab.config.nodes import Config
from lmlab.config.overrides import written
from lmlab.errors import UserError

HELD_OUT = 0.05
"""Default of ``data.validation`` and ``data.test``: the share of text without splits that each holds out."""


def with_paths(data: Config) -> Config:
    """Return a section ``data`` with ``paths`` by split if ``train`` and ``validation`` are paths, without ``train``.

    A section without the options ``paths`` and ``train`` stays the same.

    Raises:
        UserError: neither ``paths`` nor ``train`` has a value, or both have, or a split is a share beside the paths of
            others.
    """
    if not {"paths", "train", "validation", "test"} <= data.keys():
        return data
    rest = {key: value for key, value in data.items() if key != "train"}
    train, paths = data["train"], data["paths"]
    held_out = {split: data[split] for split in ("validation", "test") if isinstance(data[split], str | list)}
    first = next((f"data.{split}={written(value)}" for split, value in held_out.items()), None)
    if train is None:
        if first is not None and paths is None:
            raise UserError(f"data.train has no value: expected the files of the training split beside {first}")
        if first is not None:
            instead = f"expected data.train={written(paths)} beside it, instead of data.paths={written(paths)}"
            raise UserError(f"{first}: files of a split; {instead} (or a share that is held out, as 0.05)")
        if paths is None:
            raise UserError(
                "data.paths has no value: give one as data.paths=..., or data.train=... and data.validation=... for "
                "text that is in splits"
            )
        return rest
    if paths is not None:
        raise UserError(
            f"data.train={written(train)}: cannot be combined with data.paths={written(paths)}; leave one of them out"
        )
    if "validation" not in held_out:
        raise UserError(
            f"data.validation={written(data['validation'])}: expected the files of the validation split beside "
            f"data.train={written(train)} (data.paths={written(train)} holds out a share)"
        )
    if "test" not in held_out and data["test"] not in (HELD_OUT, 0, None):
        raise UserError(f"data.test={written(data['test'])}: expected files, as data.validation has them, or no value")
    splits: dict[str, Any] = {"train": train, **held_out}
    return rest | {"paths": splits, "validation": HELD_OUT, "test": HELD_OUT}
