"""What a W&B run carries besides its rows when it is asked to: the code, the weights, the samples, each an artifact."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmlab.config import CONF, Config
from lmlab.runs.provenance import PACKAGE, code_fingerprint
from lmlab.runs.run import Run

Kind = Literal["weights", "samples"]


@dataclass(frozen=True)
class Extras:
    """What is said and sent of a run besides its rows: see :func:`lmlab.training.loggers.wandb_logger`."""

    name: str | None = None
    group: str | None = None
    notes: str | None = None
    code: bool = False
    artifacts: Sequence[Kind] = ()

    @classmethod
    def of(cls, config: Config) -> "Extras":
        """What a run's saved configuration asks for."""
        asked: Mapping[str, Any] = (config.get("logger") or {}).get("wandb") or {}
        return cls(**{name: asked[name] for name in cls.__dataclass_fields__ if name in asked})

    @property
    def kinds(self) -> list[str]:
        """The artifacts that are asked for."""
        return [*(["code"] if self.code else []), *self.artifacts]


def code(run: Run, folder: Path) -> Any | None:
    """An artifact of lmlab's sources and configurations and of the user's modules in use, copied to ``folder``.

    Its name is the same for all runs: W&B stores the same content once, and shows which runs have it. ``None`` when the
    code here is not the code that the run's newest attempt was computed with.
    """
    import wandb

    config, manifest = run.config, run.manifest
    attempts = [attempt["code"] for attempt in manifest.get("attempts", []) if attempt.get("code")]
    fingerprint = code_fingerprint(config)
    if fingerprint != (attempts[-1] if attempts else manifest["provenance"].get("code")):
        return None
    shutil.rmtree(folder, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=unwanted)
    if not CONF.is_relative_to(PACKAGE):
        shutil.copytree(CONF, folder / CONF.name, ignore=unwanted)
    if run.code.is_dir():
        shutil.copytree(run.code, folder / "own", ignore=unwanted)
    artifact = wandb.Artifact(
        "lmlab-code", "code", metadata={"code": fingerprint, "git": manifest["provenance"].get("git")}
    )
    _add(artifact, folder, [folder])
    return artifact


def of_finished(run: Run, kind: Kind, wandb_id: str) -> Any | None:
    """The artifact of ``kind`` of a finished run; ``None`` when the run directory has it no more."""
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
    """Add files, and those in folders, under their paths below ``root``, without copies on this machine."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name = file.relative_to(root).as_posix()
                artifact.add_file(str(file), name=name, policy="immutable", skip_cache=True)
