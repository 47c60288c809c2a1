"""Find what can be removed from an outputs folder."""

import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from lmlab.analysis.records import Record, Records
from lmlab.analysis.selection import named
from lmlab.cleaning.caches import curves, leftovers, prepared
from lmlab.cleaning.item import Item, Kept, Kind, Plan
from lmlab.cleaning.of_runs import of_runs
from lmlab.cleaning.references import references
from lmlab.config import Paths


def find(
    paths: Paths,
    kinds: Collection[Kind],
    runs: str | list[str] | None = None,
    fits: Callable[[Record], bool] | None = None,
    older: float = 0.0,
) -> Plan:
    """Return what can be removed, and what is left alone.

    Args:
        runs: see :func:`lmlab.analysis.selection.named`.
        fits: of these, those that are meant; ``None``: all.
        older: seconds for which a run or a file has not changed.

    Raises:
        UserError: nothing fits one of ``runs``.
    """
    outputs, folder, cache = (Path(paths[name]) for name in ("outputs", "runs", "cache"))
    plan = Plan()
    records = named(paths, runs)
    for path, why in records.unreadable.items() if fits is None else ():
        plan.kept.append(Kept(path.name, _without(path, why)))
    if _leads_out(folder, outputs):
        plan.kept.append(Kept(str(folder), "is a link out of the outputs folder"))
    else:
        selected = [record for record in records.found if fits is None or fits(record)]
        needed = references(outputs / "sweeps", records.found)
        for entry in of_runs(selected, kinds, folder, needed, older):
            plan.add(entry)
    if "caches" in kinds:
        if not cache.resolve().is_relative_to(outputs.resolve()):
            plan.kept.append(Kept(str(cache), "lies outside the outputs folder: others may use it"))
        else:
            for item in _of_caches(folder, cache, outputs, records):
                if isinstance(item, Kept) or _is_old(item, older):
                    plan.add(item)
    return plan


def _of_caches(folder: Path, cache: Path, outputs: Path, records: Records) -> Iterable[Item | Kept]:
    fingerprints = {str(record.manifest.get("data", {}).get("fingerprint")) for record in records.found}
    unknown = any((path / "run.json").exists() for path in records.unreadable)
    yield from prepared(cache, None if unknown else fingerprints)
    yield from curves(cache / "curves")
    yield from leftovers(folder, cache, outputs)


def _is_old(item: Item, older: float) -> bool:
    return all(time.time() - path.lstat().st_mtime >= older for path in item.paths)


def _leads_out(folder: Path, outputs: Path) -> bool:
    """Return whether a folder that is named below ``outputs`` lies elsewhere."""
    below = folder.absolute().is_relative_to(outputs.absolute())
    return below and not folder.resolve().is_relative_to(outputs.resolve())


def _without(path: Path, why: str) -> str:
    """Return a reason without the directory that it begins with."""
    return why.removeprefix(f"{path}").lstrip(":/ ")
