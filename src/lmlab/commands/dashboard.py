"""``lmlab dashboard``: runs and sweeps live in a browser, with stopping, retrying and comparing."""

import errno
import os
import secrets
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec

from lmlab.commands import tables
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths
from lmlab.errors import UserError

SHORTEST = 16
"""The least number of characters of a token."""


def main(paths: Paths, host: str, port: int, token: str | None) -> None:
    """Serve the dashboard of the outputs folder until Ctrl-C."""
    if not 0 <= port < 65_536:
        raise UserError(f"port={port}: expected 0 (any free one) to 65535")
    if missing := [name for name in ("starlette", "uvicorn", "plotly") if find_spec(name) is None]:
        raise UserError(f"{', '.join(missing)}: missing (pip install 'lmlab[report]')")
    import uvicorn

    from lmlab.dashboard.app import build
    from lmlab.dashboard.guard import is_loopback, own_names
    from lmlab.dashboard.index import Index

    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(32)  # without it, anyone in the network could stop runs
    elif token is not None and len(token) < SHORTEST:
        raise UserError(f"token: expected at least {SHORTEST} characters, or null to generate one")
    listening = listen(host, port)
    port = listening.getsockname()[1]
    folders = Folders.of(paths)
    index = Index(folders.outputs.absolute(), folders.cache)
    app = build(index, own_names(host), token, cookie=f"lmlab_{port}")
    tables.say(f"{link(host, port, token)}   (Ctrl-C ends it)", "Dashboard:")
    sys.setswitchinterval(0.001)  # so that the thread that reads runs delays answers less
    settings = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    with suppress(KeyboardInterrupt):  # Ctrl-C is the normal end
        uvicorn.Server(settings).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        UserError: the port is in use or not allowed, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, kind, protocol)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(128)
    except socket.gaierror as error:
        raise UserError(f"host={host}: is no address of this machine ({error.strerror})") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port={port}: is in use by another program (port=0 takes any free port)") from None
        option = f"port={port}" if error.errno == errno.EACCES else f"host={host}"
        raise UserError(f"{option}: cannot listen there ({os.strerror(error.errno or 0)})") from None
    return server


def link(host: str, port: int, token: str | None) -> str:
    """Return the address to open in a browser."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")
