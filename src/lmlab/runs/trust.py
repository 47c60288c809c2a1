"""Signatures of the user's own code in run directories and of sweeps' commands, which decide if they may be executed.

A run keeps a copy of the user's sources that its configuration names. The writer signs it together with
``config.yaml``, with a key of this user. Code in a directory from elsewhere, or changed since, runs only with
``trust=true``. The check reads files and imports nothing.
"""

import hmac
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmlab.config import sources
from lmlab.config.nodes import at
from lmlab.config.targets import check_own, own_targets
from lmlab.errors import UserError
from lmlab.runs.content import checksum_of, own_sources
from lmlab.runs.files import write_whole

if TYPE_CHECKING:
    from lmlab.runs.run import Run

_KEY_BYTES = 32
_vouched: set[str] = set()
"""Checksums that this process has written or the user has trusted; they need no key."""


def write_code(folder: Path, files: dict[str, bytes]) -> None:
    """Write exactly ``files`` to ``folder``; without files it is removed."""
    if folder.is_dir() and files and read_code(folder) == files:
        return
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.removed.tmp")))
    if not files:
        return

    def write(temporary: Path) -> None:
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)

    write_whole(folder, write)


def read_code(folder: Path) -> dict[str, bytes]:
    """Return the files of a run's copy by relative path, without ``__pycache__``, which is never used."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sign(run: "Run") -> str | None:
    """Return the signature of a run's configuration and code; without a key, print a message and return ``None``."""
    checksum = _checksum(run)
    _vouched.add(checksum)
    return signature(checksum, run.path.name, "evaluate and generate")


def signature(checksum: str, name: str, commands: str) -> str | None:
    """Return this user's signature of a checksum; without a key, print a message and return ``None``.

    Args:
        name: name of the signed object, for the message.
        commands: commands that will refuse an unsigned object, for the message.
    """
    key = _key()
    if isinstance(key, str):
        print(f"{name} is not signed: {key}; {commands} will need trust=true", file=sys.stderr)
        return None
    return hmac.digest(key, checksum.encode(), "sha256").hex()


def is_signature(signature: object, checksum: str) -> bool:
    """Return whether ``signature`` is this user's signature of the checksum."""
    key = _key(create=False)
    if not isinstance(signature, str) or isinstance(key, str):
        return False
    return hmac.compare_digest(hmac.digest(key, checksum.encode(), "sha256").hex().encode(), signature.encode())


def is_trusted(run: "Run") -> bool:
    """Return whether a run has no code of the user's, or code that this user or this process wrote."""
    if not own_targets(run.config):
        return True
    checksum = _checksum(run)
    if not run.code.is_dir() or checksum in _vouched:
        return run.code.is_dir()
    return is_signature(run.manifest.get("signature"), checksum)


def vouch(run: "Run") -> None:
    """Trust the current code of a run in this process."""
    _vouched.add(_checksum(run))


def voucher(run: "Run") -> str | None:
    """Return a token with which processes on other machines trust ``run``, even without this user's key; see accept."""
    return _checksum(run) if own_targets(run.config) and is_trusted(run) else None


def accept(voucher: str | None) -> None:
    """Trust, in this process, the run for which :func:`voucher` returned the token, as long as it is unchanged."""
    if voucher is not None:
        _vouched.add(voucher)


def check(run: "Run", remedy: str) -> None:
    """Refuse a run whose code is not trusted.

    Args:
        remedy: advice to the user, for the message.

    Raises:
        UserError: the code is neither signed by this user nor written by this process, or a module is missing.
    """
    own = own_targets(run.config)
    with _modules_of(run):
        for target, option in own.items():
            _check_there(run, target, option)
        if is_trusted(run):
            return
        target, option = next(iter(own.items()))
        source = sources.find(target.rpartition(".")[0])
    key = _key(create=False)
    reason = "this run directory comes from elsewhere, or was changed, or an earlier version wrote it"
    if isinstance(key, str) and run.manifest.get("signature") is not None:
        reason = key
    raise UserError(
        f"{run.path.name}: {target} ({option}, in {source and source.path}) is not signed by you: {reason}; {remedy}"
    )


def adopt(run: "Run", trust: bool = False) -> None:
    """Import the user's modules of a saved run from its copy from now on, if they are trusted.

    Args:
        trust: the user trusts the code. A run without a copy, as earlier versions wrote it, then uses the working
            folder's modules.

    Raises:
        UserError: the code is not trusted, or a module is missing.
    """
    own = own_targets(run.config)
    if not own:
        return
    if not trust:
        check(run, "trust=true runs it")
    _use(run)
    for target, option in own.items():
        _check_there(run, target, option)


@contextmanager
def same_code(begun: "Run | None") -> Iterator[None]:
    """Use the modules of an existing run while a configuration is composed and prepared.

    Without such a run, or without a trusted copy, those in the working folder are used.
    """
    with _modules_of(begun if begun is not None and begun.code.is_dir() and is_trusted(begun) else None):
        yield


def has_other_code(run: "Run") -> bool:
    """Return whether the user's modules in the working folder differ from those of a run's copy, or are gone."""
    if not run.code.is_dir():
        return False
    try:
        with _modules_of(None):
            return own_sources(run.config) != read_code(run.code)
    except UserError:
        return True


def _use(run: "Run | None") -> None:
    sources.use_copy(run.code if run is not None and run.code.is_dir() else None)


@contextmanager
def _modules_of(run: "Run | None") -> Iterator[None]:
    """Use the modules of a run's copy, as :func:`adopt` does, within a ``with`` block."""
    before = sources.copy_in_use()
    _use(run)
    try:
        yield
    finally:
        sources.use_copy(before)


def _check_there(run: "Run", target: str, option: str) -> None:
    """Raise ``UserError`` if a target is missing, with the folder where the run was started, or is not allowed."""
    try:
        check_own(target, option)
    except UserError as error:
        directory = at(run.manifest, "provenance.directory")
        started = f"; the run was started in {directory}" if directory and "not found" in str(error) else ""
        raise UserError(f"{error}{started}") from None


def _checksum(run: "Run") -> str:
    files = {f"code/{name}": content for name, content in read_code(run.code).items()}
    places = [run.path / name for name in ("config.yaml", "config.json")]  # earlier versions wrote only the first
    return checksum_of(files | {path.name: path.read_bytes() for path in places if path.exists()})


def _key(create: bool = True) -> bytes | str:
    """Return this user's key, created on first use, or the reason (a string) why there is none."""
    base = os.environ.get("XDG_CONFIG_HOME")
    try:
        folder = Path(base) if base and Path(base).is_absolute() else Path.home() / ".config"
        if not base and not folder.parent.is_dir():
            return f"{folder.parent}, your home folder, does not exist"
        path = folder / "lmlab" / "key"
        if create and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path)
        if path.stat().st_mode & 0o077:
            return f"{path} can be read by others; chmod 600 restricts it to you, deleting it creates a new one"
        key = path.read_bytes()
    except (OSError, RuntimeError) as error:
        return f"no key in your configuration folder ({error})"
    return key if len(key) >= _KEY_BYTES else f"{path} is cut short; delete it to create a new one"


def _create(path: Path) -> None:
    """Write a new key atomically; if two processes write one at once, both use the same."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
