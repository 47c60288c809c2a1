"""Access control of the dashboard: the host name, the token, and the origin of requests that change something.

- *DNS rebinding*: a foreign page can point its own host name to this machine and read what is served here. Only
    names and addresses of this machine are accepted.
- *Cross-site requests*: a foreign page can send forms here. Requests that change something must come from the
    dashboard's own page, which browsers state in ``Origin``.
- *Token*: part of the link, then kept in a cookie that scripts cannot read and that other sites do not send.
"""

import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # Plotly writes its own style sheet
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
"""The page loads nothing from other sites, runs only its own script files, and cannot be framed."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Refuses requests that fail a check and passes on the rest.

    Args:
        names: names of this machine that are accepted, besides any address and ``localhost``.
        token: the token that requests need; ``None``: no token.
        cookie: name of the cookie; it includes the port, because cookies are shared between ports.
    """

    def __init__(self, app: ASGIApp, names: tuple[str, ...], token: str | None, cookie: str) -> None:
        self.app = app
        self.names = {name.lower() for name in ("localhost", *names)}
        self.token = token
        self.cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        answer = PlainTextResponse("not found", 404) if scope["type"] != "http" else self._refusal(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in present]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await (answer or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_here(host):
            return PlainTextResponse("unknown host name: use the printed address", 403)
        query = QueryParams(scope["query_string"])
        if self.token is not None:
            token = query.get("token")
            if token is not None and scope["method"] == "GET" and self._fits(token):
                answer = RedirectResponse(scope["path"], 303)  # removes the token from the address bar and the history
                answer.set_cookie(self.cookie, token, httponly=True, samesite="strict", path="/")
                return answer
            if not self._fits(cookie_parser(headers.get("cookie", "")).get(self.cookie, "")):
                return PlainTextResponse("the token is missing or wrong: use the whole printed link", 401)
        if scope["method"] not in ("GET", "HEAD"):
            if headers.get("origin") != f"{scope['scheme']}://{host}":
                return PlainTextResponse("only the dashboard's own page may send this request", 403)
            if headers.get("content-type", "").partition(";")[0] != "application/json":
                return PlainTextResponse("expected JSON", 415)
        return None

    def _fits(self, token: str) -> bool:
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def _is_here(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def own_names(host: str) -> tuple[str, ...]:
    """Return the host names of this machine, including the one that the server listens on."""
    return host, socket.gethostname(), socket.getfqdn()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
