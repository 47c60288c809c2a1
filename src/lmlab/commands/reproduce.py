"""``lmlab reproduce``: compute a run again from its saved configuration, and compare the results."""

import math
import sys
from typing import Any

from lmlab.commands import tables
from lmlab.commands.train import compute
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Config, Paths
from lmlab.config.options import check_name
from lmlab.errors import UserError
from lmlab.runs.lookup import config_here, find, next_copy
from lmlab.runs.provenance import environment_differences
from lmlab.runs.run import Run
from lmlab.runs.start import ancestors
from lmlab.runs.trust import adopt
from lmlab.training.threads import check_threads

STYLE = {"identical": "green", "within tolerance": "green", "different": "red"}


def main(
    paths: Paths,
    run: str | None,
    tolerance: float,
    progress: bool,
    parents: bool,
    threads: int | None = None,
    trust: bool = False,
) -> None:
    """Compute the run's configuration again in a new directory and compare; exit with code 1 if any metric differs.

    With ``parents``, the runs from which it began are computed first, in order. Each begins with the weights of the one
    before it.
    """
    check_threads(threads)
    if not 0 <= tolerance <= 1:
        raise UserError(f"tolerance={tolerance}: expected a relative difference from 0 to 1")
    original = find(run, Folders.of(paths).runs)
    if original.status != "finished":
        raise UserError(f"{original.path}: this run is {original.status}; only finished runs can be reproduced")
    chain = [(one, _config(one, paths, progress, threads, trust)) for one in _chain(original, parents)]
    # A repetition that was begun earlier keeps its initial weights.
    begun = [number for number, (_, config) in enumerate(chain) if next_copy(config).exists]
    repetition, verdicts = None, []
    for one, config in chain[max(begun, default=0) :]:
        choices, stage = one.manifest.get("choices"), one.manifest.get("stage")
        repetition = compute(config, rerun=True, choices=choices, stage=stage, parent=repetition)
        verdicts += show(one, repetition, tolerance)
    if "different" in verdicts:
        sys.exit(1)


def _chain(original: Run, parents: bool) -> list[Run]:
    """Return the runs to compute: the existing runs from which ``original`` began, and then ``original``."""
    earlier = ancestors(original) if parents else []
    finished = [one for one in earlier if one.status == "finished"]
    chain = [*(finished if finished == earlier else []), original]
    if parents and (begun := chain[0].manifest.get("start")) is not None:
        tables.say(f"is gone; {chain[0].path.name} begins with its own copy of those weights", f"run {begun['run']}")
    return chain


def _config(run: Run, paths: Paths, progress: bool, threads: int | None, trust: bool) -> Config:
    """Return the configuration of a repetition in ``paths``. Raises ``UserError`` if the run's code is not trusted."""
    adopt(run, trust)
    config = config_here(run) | {"paths": paths, "progress": progress, "rerun": True}
    if threads is not None:  # otherwise as many as in the run
        config = config | {"trainer": config["trainer"] | {"threads": threads}}
    check_name(config["name"])  # because the name becomes part of a path
    return config


def verdict(first: float, second: float, tolerance: float) -> str:
    """Return ``identical``, ``within tolerance`` (relative to the larger value) or ``different``."""
    if first == second or (math.isnan(first) and math.isnan(second)):
        return "identical"
    return "within tolerance" if math.isclose(first, second, rel_tol=tolerance) else "different"


def show(original: Run, repeated: Run, tolerance: float) -> list[str]:
    """Print the metrics of both runs and the differences between their environments; return the verdicts."""
    before, after = original.manifest, repeated.manifest
    rows, verdicts = [], []
    for name, old in before["metrics"].items():
        new = after["metrics"].get(name, math.nan)
        verdicts.append(verdict(old, new, tolerance))
        marked = f"[{STYLE[verdicts[-1]]}]{verdicts[-1]}[/]"
        rows.append({"metric": name, "recorded": f"{old:.10g}", "reproduced": f"{new:.10g}", "verdict": marked})
    tables.print_table(f"{original.path.name}: recorded and reproduced", rows)
    environment: dict[str, tuple[Any, Any]] = environment_differences(before["provenance"], after["provenance"])
    if before["data"]["fingerprint"] != after["data"]["fingerprint"]:
        environment["data"] = (before["data"]["fingerprint"], after["data"]["fingerprint"])
    if environment:
        tables.say("Differences between the environments:")
        for key, (old, new) in environment.items():
            tables.say(f"  {key}: {old} -> {new}")
    else:
        tables.say("The environments do not differ.")
    weights = [one.get("weights", {}).get(original.weights.name) for one in (before, after)]
    if None not in weights:
        same = "identical bit for bit" if weights[0] == weights[1] else "not identical"
        tables.say(f"The final weights are {same}.")
    tables.say(tables.place(repeated.path), "New run directory:")
    return verdicts
