"""Identify what a configuration names but does not contain: the user's local data and source files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lmlab.config import Config, build, result_config, validate
from lmlab.errors import UserError
from lmlab.sources import follow
from lmlab.targets import check_own, own_targets


def with_content(config: Config, data: str | None = None) -> Config:
    """Return ``config`` with the section ``content``: checksums of the local files that it names.

    The section has ``data`` where the configuration names local data, and ``code`` where its targets name the user's
    own modules; it is absent where neither does. It is part of a run's identity.

    Args:
        data: the checksum of the local data, where they are gone and cannot be read for it.

    Raises:
        UserError: a target names a module of the user's that is missing or may not be used, or a file is missing or no
            text.
    """
    checksums: dict[str, str] = {}
    if (code := code_checksum(config)) is not None:
        checksums["code"] = code
    if (data := data or data_checksum(config)) is not None:
        checksums["data"] = data
    return config | {"content": checksums} if checksums else config


def own_sources(config: Config) -> dict[str, bytes]:
    """Return the user's source files that the targets of ``config`` reach, by their path below the user's folder.

    Raises:
        UserError: one is missing, may not be used, or is no Python source.
    """
    targets = own_targets(config)
    for target, option in targets.items():
        check_own(target, option)
    try:
        reached = follow(target.rpartition(".")[0] for target in targets)
    except UserError as error:
        raise UserError(f"{next(iter(targets.values()))}: {error}") from error
    return {source.name: source.path.read_bytes() for source in reached.values()}


def code_checksum(config: Config) -> str | None:
    """SHA-256 of the user's source files that can change the result of ``config``; ``None`` where there are none."""
    files = own_sources(result_config(config))
    return checksum_of(files) if files else None


def checksum_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and contents of files."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{len(name.encode())} {name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def data_checksum(config: Config) -> str | None:
    """Return the checksum of the files that ``data.paths`` names, wherever they lie; ``None`` where there are none.

    Raises:
        UserError: a file is missing or no text.
    """
    if "paths" not in config["data"]:
        return None
    validate(config["data"], "data")
    checksum: str | None = build(config["data"]).checksum(Path(config["paths"]["cache"]))
    return checksum
