"""``lmlab reproduce``: compute a run afresh from its saved configuration, and say what came out the same."""

import math
import sys
from pathlib import Path
from typing import Any

from lmlab.commands import tables
from lmlab.commands.train import compute
from lmlab.config import Paths
from lmlab.errors import UserError
from lmlab.runs.lookup import find
from lmlab.runs.moved import config_here
from lmlab.runs.names import check_name
from lmlab.runs.provenance import environment_differences
from lmlab.runs.run import Run
from lmlab.runs.trust import adopt
from lmlab.training.threads import check_threads

STYLE = {"identical": "green", "within tolerance": "green", "different": "red"}


def task(
    paths: Paths, run: str | None, tolerance: float, progress: bool, threads: int | None = None, trust: bool = False
) -> None:
    """Compute the run's configuration afresh beside it and compare; exit code 1 if any metric is different."""
    check_threads(threads)
    if not 0 <= tolerance <= 1:
        raise UserError(f"tolerance={tolerance}: expected a relative difference from 0 to 1")
    original = find(run, Path(paths["runs"]))
    if original.status != "finished":
        raise UserError(f"{original.path}: this run is {original.status}; only a finished run can be reproduced")
    adopt(original, trust)
    config = config_here(original) | {"paths": paths, "progress": progress, "rerun": True}
    if threads is not None:  # else as the run had
        config = config | {"trainer": config["trainer"] | {"threads": threads}}
    check_name(config["name"])  # which is part of a path
    afresh = compute(config, rerun=True, choices=original.manifest.get("choices"))
    if "different" in show(original, afresh, tolerance):
        sys.exit(1)


def verdict(first: float, second: float, tolerance: float) -> str:
    """``identical``, ``within tolerance`` (relative to the larger) or ``different``."""
    if first == second or (math.isnan(first) and math.isnan(second)):
        return "identical"
    return "within tolerance" if math.isclose(first, second, rel_tol=tolerance) else "different"


def show(original: Run, afresh: Run, tolerance: float) -> list[str]:
    """Print both results metric by metric and what differs between the two environments; return the verdicts."""
    before, after = original.manifest, afresh.manifest
    rows, verdicts = [], []
    for name, old in before["metrics"].items():
        new = after["metrics"].get(name, math.nan)
        verdicts.append(verdict(old, new, tolerance))
        marked = f"[{STYLE[verdicts[-1]]}]{verdicts[-1]}[/]"
        rows.append({"metric": name, "recorded": f"{old:.10g}", "afresh": f"{new:.10g}", "verdict": marked})
    tables.print_table(f"{original.path.name}: recorded, and computed afresh", rows)
    found: dict[str, tuple[Any, Any]] = environment_differences(before["provenance"], after["provenance"])
    if before["data"]["fingerprint"] != after["data"]["fingerprint"]:
        found["data"] = (before["data"]["fingerprint"], after["data"]["fingerprint"])
    if found:
        tables.say("What differs between the environments:")
        for key, (old, new) in found.items():
            tables.say(f"  {key}: {old} -> {new}")
    else:
        tables.say("The environments do not differ.")
    weights = [one.get("weights", {}).get(original.weights.name) for one in (before, after)]
    if None not in weights:
        same = "the same, bit by bit" if weights[0] == weights[1] else "not the same bits"
        tables.say(f"The final weights are {same}.")
    tables.say(f"The new run directory: {tables.place(afresh.path)}")
    return verdicts
