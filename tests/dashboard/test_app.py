"""What the dashboard answers, and to whom."""

import json
import os
import shutil

import pytest
from dashboards import HOSTILE, URL, ask
from starlette.testclient import TestClient

from lmlab.analysis.curves import thinned
from lmlab.analysis.records import Record
from lmlab.dashboard.app import AT_ONCE, POINTS, build, plotly
from lmlab.dashboard.index import Index
from lmlab.runs.lookup import all_runs
from lmlab.sweeps.sweep import Job, Sweep

TOKEN = "a token of more than sixteen characters"
POST = {"origin": URL, "content-type": "application/json"}


def test_rows_say_what_the_manifests_say(client, outputs):
    rows = client.get("/api/update").json()["runs"]
    assert set(rows) == {run.path.name for run in all_runs(outputs / "runs")}
    for run in all_runs(outputs / "runs"):
        row, manifest = rows[run.path.name], run.manifest
        assert (row["id"], row["seed"], row["status"]) == (manifest["id"], manifest["seed"], manifest["status"])
        assert row["arm"] == manifest["choices"]["model"]
        assert row["metrics"].get("validation/loss", {}).get("value") == manifest["metrics"].get("validation/loss")
        assert row["done"] == (1.0 if run.status == "finished" else 0.0)
        assert row["error"] == (HOSTILE if run.status == "failed" else None)


def test_what_was_told_is_not_told_again(outputs, growing, client):
    first = ask(client, lambda answer: len(answer["runs"]) == 5)
    known = {"session": first["session"], "since": first["number"]}
    assert client.get("/api/update", params=known).json()["runs"] == {}
    growing.grow(10)
    changed = ask(client, lambda answer: answer["runs"], **known)
    assert set(changed["runs"]) == {growing.run.path.name}
    assert len(client.get("/api/update", params=known | {"session": "another server's"}).json()["runs"]) == 5


def test_a_run_that_is_computed_shows_its_signs_of_life_and_its_end(growing, client):
    key = growing.run.path.name
    growing.grow(250)
    row = ask(client, lambda answer: answer["runs"].get(key, {}).get("step") == 250)["runs"][key]
    assert (row["status"], row["done"], row["left"], row["tokens_per_second"]) == ("running", 0.25, 12.0, 5000.0)
    assert row["metrics"]["validation/loss"] == {"value": 1 + 1 / 250, "text": "1.0040"}
    growing.end()  # as if its process had been killed: the manifest still says that it is running
    row = ask(client, lambda answer: answer["runs"][key]["status"] == "interrupted")["runs"][key]
    assert (row["done"], row["left"]) == (0.25, None)


def test_curves_grow_and_are_thinned_as_a_report_thins_them(growing, client):
    key = growing.run.path.name
    growing.grow(100)
    query = {"run": key, "metric": "validation/loss", "axis": "step"}
    answer = ask(client, lambda answer: answer["drawn"]["curves"].get(key), **query)
    assert answer["drawn"]["curves"][key]["y"] == [1 + 1 / step for step in range(1, 101)]
    seen = {"session": answer["session"], "curves_since": answer["drawn"]["number"]}
    assert client.get("/api/update", params=query | seen).json()["drawn"]["curves"] == {}
    growing.grow(4900)
    whole = lambda answer: (curve := answer["drawn"]["curves"].get(key)) and curve["x"][-1] == 5000  # noqa: E731
    later = ask(client, whole, **query, **seen)["drawn"]["curves"][key]
    expected = thinned(*Record.of(growing.run).curves.curve("validation/loss", "step"), POINTS)
    assert (later["x"], later["y"], later["step"]) == (*(values.tolist() for values in expected), later["x"])
    assert len(later["x"]) <= POINTS and later["x"][-1] == 5000
    assert client.get("/api/update", params=query | {"metric": "none"}).json()["drawn"]["curves"] == {key: None}


def test_a_number_that_is_none_is_left_out(growing, client):
    key = growing.run.path.name
    with growing.run.metrics.open("w") as file:
        for step, value in enumerate([1.0, float("nan"), float("inf"), 2.0], start=1):
            file.write(json.dumps({"step": step, "tokens": step, "validation/loss": value}) + "\n")
    answer = ask(client, lambda answer: answer["drawn"]["curves"].get(key), run=key, metric="validation/loss")
    assert answer["drawn"]["curves"][key] == {"x": [1, 4], "y": [1.0, 2.0], "step": [1, 4]}


def test_runs_that_come_go_and_are_damaged(client, outputs):
    first = client.get("/api/update").json()
    known = {"session": first["session"], "since": first["number"]}
    gone, damaged, *_ = all_runs(outputs / "runs")
    shutil.rmtree(gone.path)
    (damaged.path / "run.json").write_text("{")
    (outputs / "runs" / "no-run").mkdir()
    removed = lambda answer: answer["removed"] and damaged.path.name in answer["runs"]  # noqa: E731
    answer = ask(client, removed, **known)
    assert answer["removed"] == [gone.path.name]
    assert answer["runs"][damaged.path.name]["status"] == "unreadable"
    assert "run.json cannot be read" in answer["runs"][damaged.path.name]["error"]
    assert "no-run" not in answer["runs"]


def test_details_end_with_the_log_without_what_terminals_obey(client, outputs):
    failed = next(run for run in all_runs(outputs / "runs") if run.status == "failed")
    failed.error.write_text(json.dumps({"kind": "E", "message": "m", "traceback": "where it failed"}))
    found = client.get("/api/run", params={"run": failed.path.name}).json()
    assert found["log"] == f"first\n{HOSTILE}\n"
    assert found["traceback"] == "where it failed" and found["sample"] == "gru-stdlib says"
    failed.log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    log = client.get("/api/run", params={"run": failed.path.name}).json()["log"]
    assert len(log) <= 32_768 and log.startswith("line ") and log.endswith("line 99999\n")


def test_sweeps_say_what_has_become_of_their_jobs(client, outputs):
    sweep = Sweep(outputs / "sweeps" / "2026-01-01")
    sweep.begin(["-m", "seed=1,2"], {}, {})
    statuses = ("finished", "failed", "running")
    jobs = [Job(n, [], status=status, error="broken" if n == 1 else None) for n, status in enumerate(statuses)]
    sweep.write(jobs, to_come=4)
    written = lambda answer: answer["sweeps"] and sum(answer["sweeps"][0]["counts"].values()) == 3  # noqa: E731
    (row,) = ask(client, written)["sweeps"]
    assert row["status"] == "running" and row["counts"] == {"finished": 1, "failed": 1, "running": 1}
    assert row["errors"] == ["job 2: broken"] and row["to_come"] == 4 and row["command"] == "lmlab train -m seed=1,2"
    said = client.post("/api/retry_sweep", json={"sweep": "2026-01-01"}, headers=POST)
    assert (said.status_code, said.json()["error"]) == (400, "2026-01-01: already running")
    sweep.end("interrupted")
    row = ask(client, lambda answer: answer["sweeps"][0]["status"] != "running")["sweeps"][0]
    assert row["status"] == "interrupted"
    said = client.post("/api/stop_sweep", json={"sweep": "2026-01-01"}, headers=POST)
    assert said.json()["error"] == "2026-01-01: not running (status: interrupted)"
    definition = sweep.path / "sweep.json"
    definition.write_text(json.dumps(json.loads(definition.read_text()) | {"command": ["-m", "seed=1,3"]}))
    said = client.post("/api/retry_sweep", json={"sweep": "2026-01-01"}, headers=POST)
    assert said.status_code == 400 and "is not signed by you" in said.json()["error"]


def test_the_runs_of_a_study_have_its_arms_and_all_others_their_models(client, outputs):
    first, second, *others = all_runs(outputs / "runs")
    studies = [Sweep(outputs / "sweeps" / name) for name in ("recall-2", "recall-1")]  # the second is the newer one
    for number, (sweep, arm) in enumerate(zip(studies, ("sgd", "adamw"), strict=True)):
        sweep.begin(["experiment=recall"], {}, {}, {"arms": {}})
        created = json.loads((sweep.path / "sweep.json").read_text()) | {"created": f"2026-01-0{number + 1}"}
        (sweep.path / "sweep.json").write_text(json.dumps(created))
        jobs = [Job(0, [], path=str(first.path), arm=arm), Job(1, [], path=str(second.path), arm="muon"), Job(2, [])]
        sweep.write(jobs)
    try:
        shown = lambda answer: {key: row["arm"] for key, row in answer["runs"].items()}  # noqa: E731
        arms = shown(ask(client, lambda answer: {"adamw", "muon"} <= {*shown(answer).values()}))
        assert (arms.pop(first.path.name), arms.pop(second.path.name)) == ("adamw", "muon")
        assert arms == {run.path.name: run.manifest["choices"]["model"] for run in others}
        index = Index(outputs)
        index.look()
        assert index.changes(0)["runs"][second.path.name]["arm"] == "muon", "from the first answer on"
    finally:
        for sweep in studies:
            sweep.end("finished")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8766", 200),
        ("localhost:1", 200),
        ("[::1]:8766", 200),
        ("192.168.1.7", 200),
        (os.uname().nodename, 200),
        ("evil.example:8766", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_only_this_machine_s_names_are_answered(outputs, host, status):
    client = TestClient(build(Index(outputs), names=(os.uname().nodename,)), base_url=URL)
    for path in ("/", "/api/update", "/page/main.js"):
        assert client.get(path, headers={"host": host}).status_code == status


def test_a_token_is_asked_for_everywhere_and_becomes_a_cookie(outputs):
    client = TestClient(build(Index(outputs), token=TOKEN, cookie="lmlab_8766"), base_url=URL, follow_redirects=False)
    paths = ("/", "/api/update", "/api/run", "/page/main.js", "/page/plotly.js", "/reports/x", "/nowhere")
    for path in paths:
        for query in ({}, {"token": ""}, {"token": TOKEN[:-1]}, {"token": "tökén"}):
            assert client.get(path, params=query).status_code == 401, (path, query)
        assert client.get(path, headers={"cookie": "lmlab_8766=wrong"}).status_code == 401
    assert client.post(f"/api/stop?token={TOKEN}", json={}, headers=POST).status_code == 401
    first = client.get("/", params={"token": TOKEN})
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and cookie.startswith("lmlab_8766=")
    assert client.get("/").status_code == 200
    assert client.post("/api/stop", json={"run": "x"}, headers=POST).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "https://127.0.0.1:8766"}, 403),
        ({"origin": URL, "content-type": "text/plain"}, 415),
        ({"origin": URL}, 400),
    ],
)
def test_only_the_page_itself_may_have_something_done(client, headers, status):
    answer = client.post("/api/stop", content=b'{"run": "x"}', headers={"content-type": "application/json"} | headers)
    assert answer.status_code == status
    assert client.put("/api/stop", headers=headers).status_code in (403, 405, 415)


@pytest.mark.parametrize("name", ["..", "../../etc/passwd", "%2e%2e", "/etc/passwd", "lstm", "", "\0", "x" * 5000])
def test_a_run_is_nothing_but_the_name_of_one_that_was_found(client, name):
    assert client.get("/api/run", params={"run": name}).status_code == 400
    for action in ("stop", "retry", "stop_sweep", "retry_sweep"):
        kind = "sweep" if "sweep" in action else "run"
        assert client.post(f"/api/{action}", json={kind: name}, headers=POST).status_code == 400
    assert client.post("/api/compare", json={"runs": [name]}, headers=POST).status_code == 400


@pytest.mark.parametrize("path", ["/page/index.html", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/reports/..%2fx"])
def test_only_the_page_s_own_files_are_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"run": 5}', b'{"runs": {}}', b'{"runs": [1]}'])
def test_a_request_that_is_none_is_one_line(client, content):
    for action in ("stop", "compare", "delete"):
        answer = client.post(f"/api/{action}", content=content, headers=POST)
        assert answer.status_code == 400 and len(answer.json()["error"].splitlines()) == 1
    assert client.post("/api/stop", content=b"x" * 1_000_001, headers=POST).status_code == 413


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for answer in (client.get("/"), client.get("/api/update"), client.get("/nowhere")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_scripts_come_from_what_is_installed(client):
    assert client.get("/page/plotly.js").content == plotly().read_bytes()
    page = client.get("/").text
    assert "http://" not in page and "https://" not in page


def test_what_cannot_be_done_says_why(client, outputs):
    finished = next(run for run in all_runs(outputs / "runs") if run.status == "finished").path.name
    for action, why in (("stop", "not running (status: finished)"), ("retry", "is finished; only failed")):
        answer = client.post(f"/api/{action}", json={"run": finished}, headers=POST)
        assert answer.status_code == 400 and why in answer.json()["error"]


def test_chosen_runs_are_compared_in_a_report(client, outputs):
    runs = [run.path.name for run in all_runs(outputs / "runs")]
    name = client.post("/api/compare", json={"runs": runs, "metric": None}, headers=POST).json()["report"]
    report = client.get(f"/reports/{name}")
    assert report.text == (outputs / "reports" / f"dashboard-{name}" / "report.html").read_text()
    assert "lstm" in report.text and "transformer" in report.text and HOSTILE not in report.text
    assert report.headers["content-security-policy"].startswith("sandbox ")
    assert "allow-same-origin" not in report.headers["content-security-policy"]
    failed = [run for run in runs if run.startswith("gru")]
    answer = client.post("/api/compare", json={"runs": failed}, headers=POST)
    assert answer.json()["error"] == "none of the selected runs is finished and has validation/bits_per_byte"
    answer = client.post("/api/compare", json={"runs": runs, "metric": "validation/los"}, headers=POST)
    assert answer.json()["error"] == "metric=validation/los: unknown (did you mean 'validation/loss'?)"


def test_curves_of_more_runs_than_are_drawn_are_not_read(client, outputs):
    asked = ["none"] * AT_ONCE + [next(all_runs(outputs / "runs")).path.name]
    assert client.get("/api/update", params={"run": asked}).json()["drawn"]["curves"] == {}
