"""The web application: serves the page, the changes since its last request, and its actions."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from lmlab.analysis.curves import AXES
from lmlab.dashboard.actions import Actions
from lmlab.dashboard.guard import Guard
from lmlab.dashboard.index import Index
from lmlab.dashboard.rows import details_of
from lmlab.errors import RunFailed, UserError
from lmlab.runs.files import dumps

PAGE = Path(__file__).parent / "page"
FILES = {path.name: path for path in PAGE.iterdir() if path.suffix in (".js", ".css")}

AT_ONCE = 60
"""Maximum number of runs whose curves are drawn together."""
POINTS = 400
"""Maximum number of points of a curve: more than a screen can resolve."""
LARGEST = 1_000_000
"""Maximum size of a request body in bytes."""

REPORT = "sandbox allow-scripts allow-popups allow-downloads"
"""Content security policy of a report: it runs its own scripts and must not send requests to the dashboard."""


class Answer(JSONResponse):
    """JSON response in lmlab's format, in which numbers that are not finite are strings."""

    def render(self, content: Any) -> bytes:
        return dumps(content).encode()


def plotly() -> Path:
    """Return the path of the script in the installed plotly package, without importing it."""
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


def build(index: Index, names: tuple[str, ...] = (), token: str | None = None, cookie: str = "lmlab") -> Starlette:
    """Build the application over ``index``, which it starts and stops; see :class:`lmlab.dashboard.guard.Guard`."""
    actions = Actions(index)

    def page(request: Request) -> Response:
        return HTMLResponse((PAGE / "index.html").read_bytes())

    def file(request: Request) -> Response:
        name = request.path_params["name"]
        path = plotly() if name == "plotly.js" else FILES.get(name)
        cached = {"cache-control": "private, max-age=3600"} if name == "plotly.js" else None
        return PlainTextResponse("not found", 404) if path is None else FileResponse(path, headers=cached)

    def update(request: Request) -> Response:
        query = request.query_params
        same = query.get("session") == index.session
        answer = index.changes(_number(query.get("since")) if same else 0)
        answer["outputs"] = str(index.outputs)
        measures = index.measures()
        answer["axes"] = AXES
        answer["measures"] = {
            "primary": measures.primary,
            "shown": [
                {"name": name, "heading": heading, "better": measures.better(name)}
                for name, heading in measures.headings().items()
            ],
            "compared": measures.everything,
        }
        since = _number(query.get("curves_since")) if same else 0
        metric, axis = query.get("metric", measures.primary), query.get("axis", "tokens")
        answer["drawn"] = index.curves(query.getlist("run")[:AT_ONCE], metric, axis, POINTS, since)
        definition = measures.metric(metric)
        answer["drawn"] |= {
            "heading": measures.heading(metric),
            "falls": definition is not None and definition.better == "lower",
        }
        return Answer(answer)

    def run(request: Request) -> Response:
        return Answer(details_of(index.run(request.query_params.get("run", ""))))

    async def act(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return PlainTextResponse("too long", 413)
        try:
            request_body = json.loads(body)
        except ValueError:
            request_body = None
        if not isinstance(request_body, dict):
            raise UserError("expected a JSON object")
        return Answer(await run_in_threadpool(actions.carry_out, request.path_params["action"], request_body))

    def report(request: Request) -> Response:
        path = actions.reports.get(request.path_params["name"])
        if path is None:
            return PlainTextResponse("not found", 404)
        return FileResponse(path, headers={"content-security-policy": REPORT})

    async def refused(request: Request, error: Exception) -> Response:
        return Answer({"error": str(error)}, 400)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        index.start()
        yield
        index.stop()

    errors: dict[Any, Any] = dict.fromkeys((UserError, RunFailed, OSError), refused)
    return Starlette(
        routes=[
            Route("/", page),
            Route("/page/{name}", file),
            Route("/api/update", update),
            Route("/api/run", run),
            Route("/api/{action}", act, methods=["POST"]),
            Route("/reports/{name}", report),
        ],
        middleware=[Middleware(Guard, names=names, token=token, cookie=cookie)],
        exception_handlers=errors,
        lifespan=lifespan,
    )


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
