"""Who may ask the dashboard for what: the address they used, their token, and the page that makes them ask.

- *DNS rebinding*: a stranger's page may have its own name point to this machine and then read what is served here. Only
  names of this machine, and addresses, which cannot be made to point elsewhere, are answered.
- *Cross-site requests*: a stranger's page may send forms here. What changes something has to come from the page itself,
  which browsers say in ``Origin``.
- *Token*: given once in the link, then kept in a cookie that scripts cannot read and that no other site has sent.
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
"""The page loads nothing from elsewhere, runs no script that is not a file of its own, and is shown in no frame."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Refuses what it must and hands on the rest.

    Args:
        names: names of this machine, besides any address and ``localhost``.
        token: what has to be known; ``None``: nothing.
        cookie: the cookie's name; cookies do not tell ports apart, so it has the port in it.
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
            return PlainTextResponse("this name is none of this machine: use the address that was printed", 403)
        query = QueryParams(scope["query_string"])
        if self.token is not None:
            given = query.get("token")
            if given is not None and scope["method"] == "GET" and self._fits(given):
                answer = RedirectResponse(scope["path"], 303)  # out of the address bar and the history
                answer.set_cookie(self.cookie, given, httponly=True, samesite="strict", path="/")
                return answer
            if not self._fits(cookie_parser(headers.get("cookie", "")).get(self.cookie, "")):
                return PlainTextResponse("the token is missing or wrong: use the whole link that was printed", 401)
        if scope["method"] not in ("GET", "HEAD"):
            if headers.get("origin") != f"{scope['scheme']}://{host}":
                return PlainTextResponse("only the dashboard's own page may ask for this", 403)
            if headers.get("content-type", "").partition(";")[0] != "application/json":
                return PlainTextResponse("expected JSON", 415)
        return None

    def _fits(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

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
    """Names that this machine goes by, and the one that it was told to listen at."""
    return host, socket.gethostname(), socket.getfqdn()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
