"""A stand-in for the W&B server on this machine: it keeps what the real client sends, and misbehaves on command.

It answers what wandb 0.31 asks in the course of a run, a sweep's agent and a public query. ``server.environment`` leads
a process to it.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

ENTITY = "someone"
KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Behaviour:
    """What a server does to a request before it answers: nothing, by default.

    Args:
        delay: seconds to wait before answering.
        status: the HTTP status of every answer; 200 answers properly.
        silent: accept the connection and never answer.
        after: requests to answer properly first.
        only: a regular expression that the path, or the GraphQL operation's name, has to match.
    """

    delay: float = 0.0
    status: int = 200
    silent: bool = False
    after: int = 0
    only: str = ""


@dataclass
class SentRun:
    """What the server has been told of one run."""

    project: str
    attributes: dict[str, Any] = field(default_factory=dict)  # the last upsert's: displayName, groupName, tags, ...
    config: dict[str, Any] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)  # the rows as text, one a line
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    upserts: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history, a dictionary a row."""
        return [json.loads(line) for line in self.history]

    @property
    def steps(self) -> list[int]:
        """The step of every row, in the order in which they lie at the server."""
        return [row["_step"] for row in self.rows]


class WandbServer:
    """Serves on a port of its own from ``start`` to ``stop``; what it holds outlives both.

    ``runs`` has the runs by id, ``requests`` the paths and operations that were asked for, ``artifacts`` the artifacts
    by id, ``views`` the workspaces and reports, ``commands`` what a sweep's agent is told at its next heartbeats.
    """

    def __init__(self) -> None:
        self.runs: dict[str, SentRun] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.commands: list[list[dict[str, Any]]] = []
        self.sweep_config = ""
        self.behaviour = Behaviour()
        self.lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None
        self._open = threading.Event()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a process to this server, logged in."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def start(self) -> None:
        """Accept connections, on the port of before if there was one."""
        handler = type("Handler", (_Handler,), {"owner": self})
        self._open.set()
        self._server = _Server(("127.0.0.1", getattr(self, "port", 0)), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        self._open.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def behave(self, **behaviour: Any) -> None:
        """Misbehave from the next request on as :class:`Behaviour` says; without arguments, behave."""
        with self.lock:
            self.behaviour = Behaviour(**behaviour)

    @property
    def only_run(self) -> SentRun:
        (run,) = self.runs.values()
        return run

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The ``data`` of a GraphQL answer."""
        operation = _operation(query)
        answer: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"on_{operation}", None)
        if answer is None:
            return {}
        return answer(variables.get("input") or variables)

    def _run(self, name: str, project: str | None) -> SentRun:
        return self.runs.setdefault(name, SentRun(project or "uncategorized"))

    def on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": {"cliVersionInfo": {"max_cli_version": "99.0.0"}}}

    def on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = asked["name"] in self.runs
        run = self._run(asked["name"], asked.get("project"))
        run.upserts += 1
        run.attributes |= {key: value for key, value in asked.items() if value is not None}
        if asked.get("config"):
            run.config = {key: value["value"] for key, value in json.loads(asked["config"]).items()}
        if asked.get("summaryMetrics"):
            run.summary = json.loads(asked["summaryMetrics"])
        project = {"id": "2", "name": run.project, "entity": {"id": "3", "name": ENTITY}}
        bucket = {
            "id": f"id-{asked['name']}",
            "name": asked["name"],
            "displayName": run.attributes.get("displayName", asked["name"]),
            "config": asked.get("config") or "{}",
            "sweepName": asked.get("sweep"),
            "project": project,
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": not known}}

    def on_RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(asked["name"])
        bucket = run and {
            "id": f"id-{asked['name']}",
            "name": asked["name"],
            "displayName": run.attributes.get("displayName"),
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(run.history[-1:]),
            "eventsTail": "[]",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "tags": run.attributes.get("tags", []),
            "notes": "",
            "wandbConfig": json.dumps({"t": 1}),
        }
        entity = {"id": "3", "name": ENTITY}
        return {"model": {"id": "2", "name": asked.get("project"), "entity": entity, "bucket": bucket}}

    def on_CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/storage/run/{asked['run']}/{name}"} for name in asked["files"]
        ]
        return {"createRunFiles": {"runID": f"id-{asked['run']}", "uploadHeaders": [], "files": files}}

    def on_CreateArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        names = asked.get("artifactCollectionNames") or [asked.get("artifactCollectionName")]
        about = {"name": names[0], "digest": asked["digest"]}
        same = [key for key, known in self.artifacts.items() if known["committed"] and about.items() <= known.items()]
        identity = same[0] if same else f"artifact-{len(self.artifacts)}"
        about |= {"type": asked["artifactTypeName"], "metadata": json.loads(asked.get("metadata") or "{}")}
        known = self.artifacts.setdefault(identity, about | {"committed": False, "runs": []})
        known["runs"].append(asked.get("runName"))
        sequence = {"id": "4", "name": names[0], "latestArtifact": {"id": same[0], "versionIndex": 0} if same else None}
        state = "COMMITTED" if same else "PENDING"
        artifact = {"id": identity, "state": state, "digest": asked["digest"], "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def on_ArtifactByID(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = self.artifacts[asked["id"]]
        entity = {"__typename": "Entity", "id": "3", "name": ENTITY}
        sequence = {
            "__typename": "ArtifactSequence",
            "id": "4",
            "name": known["name"],
            "project": {"__typename": "Project", "id": "2", "internalId": "2", "name": "lmlab", "entity": entity},
        }
        times = dict.fromkeys(("createdAt", "updatedAt"), "2026-01-01T00:00:00Z")
        numbers = {"versionIndex": 0, "historyStep": None, "size": 0, "fileCount": 0, "ttlDurationSeconds": -2}
        artifact = {
            "__typename": "Artifact",
            "id": asked["id"],
            "artifactSequence": sequence,
            "artifactType": {"name": known["type"]},
            "description": None,
            "metadata": json.dumps(known["metadata"]),
            "ttlIsInherited": False,
            "tags": [],
            "state": "COMMITTED" if known["committed"] else "PENDING",
            "digest": known["digest"],
            "commitHash": None,
            "aliases": [],
        }
        return {"artifact": artifact | times | numbers}

    def on_CreateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(asked["artifactID"])}}

    def on_UpdateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        identity = asked["artifactManifestID"].removeprefix("manifest-")
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(identity)}}

    def _manifest(self, artifact: str) -> dict[str, Any]:
        file = {"id": "5", "uploadUrl": f"{self.url}/storage/{artifact}/manifest.json", "uploadHeaders": []}
        return {"id": f"manifest-{artifact}", "file": file}

    def on_CreateArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "storagePath": f"{file['artifactID']}/{file['name']}",
                "uploadUrl": f"{self.url}/storage/{file['artifactID']}/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            for file in asked["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def on_CommitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[asked["artifactID"]]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": ""}}}

    def on_ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def on_GetDefaultEntity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "1", "entity": ENTITY}}

    def on_Run(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(asked["name"])
        states: dict[int | None, str] = {None: "running", 0: "finished"}
        found = run and {
            "id": f"id-{asked['name']}",
            "projectId": "2",
            "name": asked["name"],
            "displayName": run.attributes.get("displayName"),
            "state": states.get(run.exit_code, "failed"),
            "tags": run.attributes.get("tags", []),
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "summaryMetrics": json.dumps(run.summary),
        }
        return {"project": {"run": found}}

    def on_RunHistoryKeys(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[asked["name"]]
        return {"project": {"run": {"historyKeys": {"lastStep": run.steps[-1]} if run.history else None}}}

    def on_upsertView(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A report, or a workspace: the client names its mutation UpsertView2."""
        known = asked.get("id") in self.views
        identity = asked["id"] if known else base64.b64encode(f"View:{len(self.views)}".encode()).decode()
        view = self.views.setdefault(identity, {"id": identity})
        view |= {key: value for key, value in asked.items() if key != "id"}
        project = {"id": "2", "name": view["projectName"], "entityName": view["entityName"]}
        return {"upsertView": {"view": view | {"project": project}, "inserted": not known}}

    on_UpsertView2 = on_upsertView

    def on_View(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [view for view in self.views.values() if view["name"] == asked["viewName"]]
        return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}

    def on_SpecificReport(self, asked: dict[str, Any]) -> dict[str, Any]:
        view = self.views.get(asked["reportId"])
        project = view and {"id": "2", "name": view["projectName"], "entityName": view["entityName"]}
        return {"view": view and view | {"project": project}}

    def on_ProjectInternalId(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "2", "internalId": "2"}}

    def on_GetProjects(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def on_SweepWithRuns(self, asked: dict[str, Any]) -> dict[str, Any]:
        sweep = {"id": "6", "name": asked["sweep"], "config": self.sweep_config, "state": "RUNNING"}
        return {"project": {"sweep": sweep | {"runs": {"edges": []}}}}

    def on_CreateAgent(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def on_Heartbeat(self, _: dict[str, Any]) -> dict[str, Any]:
        commands = self.commands.pop(0) if self.commands else []
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}

    def stream(self, name: str, project: str, sent: dict[str, Any]) -> None:
        """Take in what a run's file stream carries; lines go where their offset says, as at the real server."""
        run = self._run(name, project)
        history = sent.get("files", {}).get("wandb-history.jsonl")
        if history:
            run.history[history["offset"] : history["offset"] + len(history["content"])] = history["content"]
        summary = sent.get("files", {}).get("wandb-summary.json")
        if summary:
            run.summary = json.loads(summary["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]

    def store(self, path: str, content: bytes) -> None:
        """Take in an uploaded file."""
        kind, _, rest = path.partition("/")
        if kind == "run":
            name, _, file = rest.partition("/")
            self._run(name, None).files[file] = content
        else:
            self.artifacts[kind].setdefault("files", {})[rest] = content


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server for the length of a ``with`` block."""
    server = WandbServer()
    try:
        yield server
    finally:
        server.stop()


def _operation(query: str) -> str:
    found = re.search(r"^\s*(?:query|mutation)\s+(\w+)", query, re.MULTILINE)
    return found[1] if found else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """A client that breaks off is none."""


class _Handler(BaseHTTPRequestHandler):
    owner: WandbServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""

    def _handle(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            content = gzip.decompress(content)
        asked = json.loads(content) if self.path == "/graphql" else {}
        what = _operation(asked.get("query", "")) or self.path
        owner = self.owner
        with owner.lock:
            open_ = owner._open.is_set()
            owner.requests.append(what)
            behaviour = owner.behaviour
            concerned = re.search(behaviour.only, what) is not None
            if concerned and behaviour.after > 0:
                behaviour.after -= 1
                concerned = False
        if not open_:  # a connection that was kept open across stop()
            self.close_connection = True
            return
        if concerned:
            time.sleep(behaviour.delay)
            if behaviour.silent:
                while owner.behaviour is behaviour and owner._open.is_set():
                    time.sleep(0.05)
                self.close_connection = True
                return
            if behaviour.status != 200:
                self._answer(behaviour.status, {"errors": [{"message": f"made to answer {behaviour.status}"}]})
                return
        with owner.lock:
            answer: dict[str, Any] = {}
            if asked:
                answer = {"data": owner.answer(asked["query"], asked.get("variables") or {})}
            elif stream := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path):
                owner.stream(stream[3], stream[2], json.loads(content))
            elif self.path.startswith("/storage/"):
                owner.store(unquote(self.path.removeprefix("/storage/")), content)
        self._answer(200, answer)

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
