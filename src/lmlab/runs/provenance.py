"""Origin of a result: code, packages, interpreter and hardware."""

import hashlib
import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lmlab.config.canonical import CONF
from lmlab.config.nodes import Config, at

PACKAGE = Path(__file__).parents[1]
_NUMBERS = ("models/", "data/", "training/", "config/experiment.py")
_NO_NUMBERS = ("training/loggers/", "training/callbacks/progress.py")
PACKAGES = (
    "lmlab",
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "wandb",
    "torchmetrics",
    "tokenizers",
    "numpy",
    "safetensors",
)


def provenance(config: Config) -> dict[str, Any]:
    """Return the information needed to judge whether another environment could give another result, as plain values."""
    return {
        "code": code_fingerprint(config),
        "git": git_state()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hardware": hardware(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "directory": str(Path.cwd()),
    }


@cache
def package_hash() -> str:
    """Return the SHA-256 of those of lmlab's sources that can change a number."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(_NUMBERS) and not name.startswith(_NO_NUMBERS):
            digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def code_fingerprint(config: Config) -> str:
    """Return the SHA-256 over lmlab's own sources and the checksum of the user's source files in ``config``."""
    own = at(config, "content.code") or ""
    return hashlib.sha256(package_hash().encode() + own.encode()).hexdigest()[:16]


@cache
def git_state() -> tuple[dict[str, Any] | None, str]:
    """Return ({commit, branch, dirty}, uncommitted diff) of the checkout lmlab runs from; (None, "") outside one.

    The state is that of the first call in this process: all its runs use the code imported then.
    """

    def git(*arguments: str, fine: tuple[int, ...] = (0,)) -> str | None:
        try:
            process = subprocess.run(
                ["git", "-C", str(CONF), *arguments], capture_output=True, text=True, timeout=20, errors="replace"
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return process.stdout if process.returncode in fine else None

    tracked = git("ls-files", "--error-unmatch", "train.yaml")
    commit = git("rev-parse", "HEAD")
    if tracked is None or commit is None:
        return None, ""
    top = (git("rev-parse", "--show-toplevel") or "").strip()
    diff = git("-C", top, "diff", "HEAD") or ""
    for new in (git("-C", top, "ls-files", "--others", "--exclude-standard", "*.py", "*.yaml") or "").splitlines():
        diff += git("-C", top, "diff", "--no-index", "/dev/null", new, fine=(1,)) or ""
    state = {
        "commit": commit.strip(),
        "branch": (git("rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "dirty": bool((git("-C", top, "status", "--porcelain") or "").strip()),
    }
    return state, diff


def hardware() -> dict[str, Any]:
    """Return processor, cores, memory in bytes, and the names of GPUs if torch has been imported and sees any."""
    description: dict[str, Any] = {
        "host": platform.node(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        description["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return description


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def environment_differences(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the parts of two :func:`provenance` records that differ and could explain different results."""
    from lmlab.config.nodes import differences

    ignored = ("command", "directory", "hardware.host", "git.branch", "git.dirty")
    changes = differences(first, second)
    return {key: pair for key, pair in changes.items() if not key.startswith(ignored)}
