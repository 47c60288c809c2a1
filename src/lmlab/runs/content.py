"""Checksums of files that a configuration names but does not contain: the user's local data and source files."""

import hashlib
from collections.abc import Mapping

from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Folders
from lmlab.config.identity import result_config
from lmlab.config.nodes import Config
from lmlab.config.sources import files_beside, follow
from lmlab.config.targets import check_own, own_targets
from lmlab.errors import UserError


def with_content(config: Config, recorded: Mapping[str, str] | None = None) -> Config:
    """Return ``config`` with a section ``content`` of checksums of the local files that it names.

    The section has ``data`` if the configuration names local data, ``tokenizer`` if it names the file of a tokenizer,
    and ``code`` if its targets name the user's own modules; it is absent if none applies. It is part of a run's
    identity.

    Args:
        recorded: checksums of files that are gone and cannot be read.

    Raises:
        UserError: a target names a missing or forbidden module of the user's, or a file is missing or not text.
    """
    recorded = recorded or {}
    checksums = {
        "code": code_checksum(config),
        "data": recorded.get("data") or data_checksum(config),
        "tokenizer": recorded.get("tokenizer") or tokenizer_checksum(config),
    }
    checksums = {name: checksum for name, checksum in checksums.items() if checksum is not None}
    return config | {"content": checksums} if checksums else config


MOST_BYTES = 16 * 2**20
"""Size of the largest file beside a module that a run keeps a copy of."""


def own_sources(config: Config) -> dict[str, bytes]:
    """Return the user's source files that the targets of ``config`` reach, by their path below the user's folder.

    The files that they name and may read from their own folder are among them (see :mod:`lmlab.config.sources`).

    Raises:
        UserError: a file is missing, not allowed, not Python source, or too large to be copied.
    """
    targets = own_targets(config)
    for target, option in targets.items():
        check_own(target, option)
    files: dict[str, bytes] = {}
    try:
        for source in follow(target.rpartition(".")[0] for target in targets).values():
            for name, path in {source.name: source.path, **files_beside(source)}.items():
                if path.suffix != ".py" and (size := path.stat().st_size) > MOST_BYTES:
                    raise UserError(
                        f"{source.path} names {path} ({size:,} bytes): a run keeps a copy of such files, limited to "
                        f"{MOST_BYTES:,} bytes each; give the path of this one as an option of your own"
                    )
                content = path.read_bytes()
                if files.setdefault(name, content) != content:
                    raise UserError(
                        f"{path}: another folder of your modules also has a file {name}; rename one of them"
                    )
    except UserError as error:
        raise UserError(f"{next(iter(targets.values()))}: {error}") from error
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return files


def code_checksum(config: Config) -> str | None:
    """Return the SHA-256 of the user's source files that can change the result of ``config``; ``None`` without any."""
    files = own_sources(result_config(config))
    return checksum_of(files) if files else None


def checksum_of(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the names and contents of files."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{len(name.encode())} {name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def data_checksum(config: Config) -> str | None:
    """Return the checksum of the local files of ``data``, independent of their folder; ``None`` without any.

    Raises:
        UserError: a file is missing or not text.
    """
    data = config["data"]
    sections = [data, *(data.get("parts") or {}).values()]  # of a mixture, and of its parts
    if not any("paths" in section or section.get("files") is not None for section in sections):
        return None
    validate(config["data"], "data")
    checksum: str | None = build(config["data"]).checksum(Folders.of(config["paths"]).cache)
    return checksum


def tokenizer_checksum(config: Config) -> str | None:
    """Return the checksum of the file that ``tokenizer.path`` names, independent of its place; ``None`` without one.

    Raises:
        UserError: the file is missing.
    """
    if "path" not in config.get("tokenizer", {}):
        return None
    validate(config["tokenizer"], "tokenizer")
    checksum: str | None = build(config["tokenizer"]).checksum()
    return checksum
