"""Optional artifacts of a W&B run: the code, the weights, the samples."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lmlab.config.canonical import CONF
from lmlab.config.nodes import Config, at
from lmlab.runs.provenance import PACKAGE, code_fingerprint
from lmlab.runs.run import Run

Kind = Literal["weights", "samples"]


def requested(config: Config) -> list[str]:
    """Return the names of the artifacts that a run's configuration asks for, ``code`` among them."""
    section: Mapping[str, Any] = at(config, "logger.wandb") or {}
    return [*(["code"] if section.get("code") else []), *section.get("artifacts", ())]


def code(run: Run, folder: Path) -> Any | None:
    """Return an artifact of lmlab's sources and configurations and of the user's modules, copied to ``folder``.

    Its name is the same for all runs: W&B stores equal content once, and shows which runs have it. Return ``None`` if
    the code here is not the code of the run's newest attempt.
    """
    import wandb

    config, manifest = run.config, run.manifest
    attempts = [attempt["code"] for attempt in manifest.get("attempts", []) if attempt.get("code")]
    fingerprint = code_fingerprint(config)
    if fingerprint != (attempts[-1] if attempts else manifest["provenance"].get("code")):
        return None
    shutil.rmtree(folder, ignore_errors=True)
    compiled = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=compiled)
    if not CONF.is_relative_to(PACKAGE):
        shutil.copytree(CONF, folder / CONF.name, ignore=compiled)
    if run.code.is_dir():
        shutil.copytree(run.code, folder / "own", ignore=compiled)
    artifact = wandb.Artifact(
        "lmlab-code", "code", metadata={"code": fingerprint, "git": manifest["provenance"].get("git")}
    )
    _add(artifact, folder, [folder])
    return artifact


def of_finished(run: Run, kind: str, wandb_id: str) -> Any | None:
    """Return the artifact ``kind`` of a finished run; ``None`` if its files are no longer in the run directory."""
    import wandb

    type_, paths = {
        "weights": ("model", [run.weights, run.path / "config.yaml", run.tokenizer]),
        "samples": ("samples", [run.samples]),
    }[kind]
    if not all(path.exists() for path in paths):
        return None
    manifest = run.manifest
    about = {"metrics": manifest["metrics"], "data_fingerprint": manifest["data"]["fingerprint"]}
    artifact = wandb.Artifact(f"{type_}-{wandb_id}", type_, metadata=about)
    _add(artifact, run.path, paths)
    return artifact


def _add(artifact: Any, root: Path, paths: Sequence[Path]) -> None:
    """Add files, and those in folders, under their paths relative to ``root``, without copying them."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name = file.relative_to(root).as_posix()
                artifact.add_file(str(file), name=name, policy="immutable", skip_cache=True)
