"""What arrives at a W&B server that is there, is away, is slow or refuses; no run is trained here."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import wandb

from lmlab.commands.wandb import hand_to_agent, sync, synchronise
from lmlab.config.canonical import CONF
from lmlab.errors import UserError
from lmlab.runs.files import read_jsonl
from lmlab.runs.provenance import PACKAGE, code_fingerprint
from lmlab.runs.run import Run
from lmlab.training.loggers import JsonlLogger, wandb_logger
from lmlab.training.loggers.logger import drop_rows_after
from lmlab.wandb.artifacts import requested
from lmlab.wandb.mirror import WandbRecord, recorded_rows
from lmlab.wandb.settings import WandbOptions

sys.path.append(str(Path(__file__).parents[2]))
from processes import wait_until
from wandb.analytics.opentelemetry import opentelemetry_proxy
from wandb_server import KEY, WandbServer, wandb_server

pytestmark = pytest.mark.slow

TIMEOUTS = {"init_timeout": 20.0, "finish_timeout": 30.0}
AWAY = {
    "refuses connections": None,
    "never answers": {"silent": True},
    "answers 500": {"status": 500},
    "answers 401": {"status": 401},
    "answers 404": {"status": 404},
}


@pytest.fixture
def server(monkeypatch):
    with wandb_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
    wandb.teardown()


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run(tmp_path / "outputs" / "runs" / "lstm-text-abc")
    config = {"name": "lstm-text", "seed": 1, "tags": ["first"], "model": {"width": 16}, "paths": {}}
    run.create(config, "abc", provenance={"python": "3"}, data={"fingerprint": "f"}, sweep="sweep", choices={})
    return run


class Training:
    """What training logs of an attempt, without training; ``end`` is as the worker ends it."""

    def __init__(self, run: Run, **options: Any) -> None:
        self.run = run
        self.metrics = JsonlLogger(run.metrics)
        self.logger = wandb_logger(run, **({"init_timeout": 30.0, "finish_timeout": 15.0} | options))

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            for logger in (self.metrics, self.logger):
                logger.log_metrics({"train/loss": 1 / step, "tokens": 64 * step}, step=step)
            if step in (5, 10, 15, 20):
                for logger in (self.metrics, self.logger):
                    logger.log_metrics({"validation/loss": 2 / step, "tokens": 64 * step}, step=step)
                sample = {"step": step, "tokens": 64 * step, "text": f"text {step}"}
                with self.run.samples.open("a") as file:
                    file.write(json.dumps(sample) + "\n")
                self.logger.log_sample(sample)

    def end(self, exit_code: int = 0) -> None:
        metrics = {"validation/loss": 0.1} if exit_code == 0 else {}
        self.run.update(status="failed" if exit_code else "finished", metrics=metrics)
        self.logger.finish(metrics, exit_code)


def assert_complete(server: WandbServer, run: Run, last: int) -> None:
    """The server has every row of the run once, each with all that was logged at its step."""
    assert WandbRecord(run).complete
    sent = server.only_run
    assert sent.steps == list(range(1, last + 1))
    logged: dict[int, dict] = {}
    for row in read_jsonl(run.metrics):
        logged.setdefault(row["step"], {}).update(row)
    for row in sent.rows:
        assert {name: row[name] for name in logged[row["step"]]} == logged[row["step"]]
    assert sent.config["model"] == {"width": 16} and sent.config["data_fingerprint"] == "f"
    assert sent.attributes["tags"] == ["first"] and sent.attributes["groupName"] == "sweep"
    assert sent.summary["samples"]["nrows"] == min(last, 20) // 5


def test_all_that_is_logged_arrives(server, run, capfd):
    training = Training(run)
    training.steps(1, 20)
    training.end()
    assert_complete(server, run, 20)
    assert server.only_run.exit_code == 0
    assert server.only_run.summary["validation/loss"] == 0.1
    assert [row["step"] for row in server.only_run.rows if "samples" in row] == [5, 10, 15, 20]
    assert {artifact["committed"] for artifact in server.artifacts.values()} == {True}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["refuses connections", "never answers", "answers 401"])
def test_a_server_that_is_away_at_the_start_is_waited_for_by_nobody(how, server, run, capfd):
    behaviour = AWAY[how]
    if behaviour is None:
        server.stop()
    else:
        server.behave(**behaviour)
    started = time.monotonic()
    training = Training(run, init_timeout=10.0)
    training.steps(1, 300)
    assert time.monotonic() - started < 10.0
    training.end()
    announced = capfd.readouterr().err.splitlines()
    assert len(announced) == 1 and announced[0].startswith("W&B cannot be reached, logging this run offline (")
    assert announced[0].endswith("lmlab wandb sync sends what is missing.")
    assert not WandbRecord(run).complete
    if behaviour is None:
        server.start()
    server.behave()
    wandb.teardown()
    assert synchronise(run, TIMEOUTS)["rows"] == 300
    assert_complete(server, run, 300)
    assert synchronise(run, TIMEOUTS)["rows"] == 0
    assert_complete(server, run, 300)


SETTINGS = {
    "WANDB_SILENT": "false",
    "WANDB_PROJECT": "theirs",
    "WANDB_NAME": "called",
    "WANDB_RUN_GROUP": "group",
    "WANDB_NOTES": "why",
    "WANDB_TAGS": "x,y",
    "WANDB_RUN_ID": "",
}


@pytest.mark.parametrize("exit_code", [0, 1])
def test_w_and_b_s_own_variables_and_files_count_and_it_says_nothing(
    exit_code, server, run, capfd, monkeypatch, tmp_path
):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nentity = lab\n")
    run.update(tags=[])
    training = Training(run)
    training.steps(1, 5)
    training.end(exit_code)
    sent = server.only_run
    assert sent.project == "theirs" and sent.attributes["displayName"] == "called"
    assert sent.attributes["groupName"] == "group" and sent.attributes["notes"] == "why"
    assert sent.attributes["tags"] == ["x", "y"]
    assert WandbRecord(run).fields["project"] == "theirs"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["answers 500", "answers 404"])
def test_a_server_that_fails_in_the_middle_stops_nothing_and_loses_nothing(how, server, run, capfd):
    training = Training(run, finish_timeout=3.0)
    training.steps(1, 3)
    wait_until(lambda: server.runs, "the server never hears of the run")
    server.behave(**AWAY[how], only="file_stream")
    started = time.monotonic()
    training.steps(4, 100)
    assert time.monotonic() - started < 10.0
    training.end()
    assert time.monotonic() - started < 30.0
    announced = capfd.readouterr().err
    assert announced.count("lmlab wandb sync") == 1, announced
    assert not WandbRecord(run).complete
    server.behave()
    training.logger._thread.join(30)
    wandb.teardown()
    assert synchronise(run, TIMEOUTS)["result"] == "sent"
    assert_complete(server, run, 100)


def test_what_callbacks_log_is_of_the_step_that_the_run_directory_has(server, run):
    training = Training(run)
    module = SimpleNamespace(global_step=0, tokens_seen=0, latest={})
    for logger in (training.metrics, training.logger):
        logger.module = module
    for step in (1, 2, 3):
        module.global_step, module.tokens_seen = step, 64 * step
        for logger in (training.metrics, training.logger):
            logger.log_metrics({"train/loss": 1 / step, "tokens": 64 * step}, step=step)
            logger.log_metrics({"mine": torch.tensor(step), "epoch": 0}, step=step - 1)
            logger.log_metrics({"validation/loss": 2 / step, "tokens": 64 * step})
    training.end()
    assert server.only_run.steps == [1, 2, 3]
    kept = [{key: value for key, value in row.items() if not key.startswith("_")} for row in server.only_run.rows]
    assert kept == recorded_rows(run) and kept[1]["mine"] == 2 and "epoch" not in kept[1]


def test_a_short_outage_is_bridged(server, run):
    training = Training(run)
    training.steps(1, 10)
    wait_until(lambda: server.runs, "the server never hears of the run")
    server.behave(status=500, only="file_stream")
    training.steps(11, 30)
    time.sleep(1)
    server.behave()
    training.end()
    assert_complete(server, run, 30)


@pytest.mark.parametrize("delivered", [4, 12])
def test_an_attempt_that_goes_on_sends_what_the_server_lacks_and_nothing_twice(delivered, server, run):
    """The checkpoint was at step 8; the server has fewer rows than that, or more."""
    training = Training(run)
    training.steps(1, delivered + 1)  # the newest row may not be whole and is kept back
    training.end(exit_code=1)
    assert server.only_run.steps == list(range(1, delivered + 1))
    training.logger = JsonlLogger(run.path / "nobody")
    training.logger.log_sample = lambda row: None
    training.steps(delivered + 2, 14)  # never sent
    drop_rows_after(run.metrics, 8, 8)
    drop_rows_after(run.samples, 8, 8)
    wandb.teardown()
    second = Training(run)
    second.steps(9, 20)
    second.end()
    assert_complete(server, run, 20)
    assert server.only_run.exit_code == 0


def test_an_offline_run_sends_nothing_not_even_wandb_s_reports_about_itself(server, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    training = Training(run)
    training.steps(1, 5)
    training.end()
    if (proxy := opentelemetry_proxy.get_open_telemetry_proxy()) is not None:
        proxy.shutdown()  # sends what would be sent after a minute
    assert not server.requests


def test_several_offline_attempts_leave_one_folder_with_everything(server, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for first, exit_code in ((1, 1), (9, 0)):
        training = Training(run)
        training.steps(first, first + 9)
        training.end(exit_code)
        wandb.teardown()
        if exit_code:
            drop_rows_after(run.metrics, 8, 8)
            drop_rows_after(run.samples, 8, 8)
    (folder,) = (run.path / "wandb").glob("offline-run-*")
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert [r["history"]["step"]["num"] for r in records if r["type"] == "history"] == list(range(1, 19))
    assert not server.requests
    assert synchronise(run, TIMEOUTS)["rows"] == 18
    assert_complete(server, run, 18)


def test_an_agent_s_run_is_the_one_that_the_agent_announced_and_the_next_is_not(server, run, monkeypatch, tmp_path):
    with monkeypatch.context() as agent:
        for name, value in {"SWEEP_ID": "s", "RUN_ID": "announced", "PROJECT": "theirs", "ENTITY": "someone"}.items():
            agent.setenv(f"WANDB_{name}", value)
        training = Training(run)
        training.steps(1, 10)
        training.end()
    assert_complete(server, run, 10)
    assert list(server.runs) == ["announced"]
    assert (server.only_run.project, server.only_run.attributes["sweep"]) == ("theirs", "s")
    wandb.teardown()
    before = dict(os.environ)
    other = Run(tmp_path / "outputs" / "runs" / "lstm-text-def")
    other.create(run.config, "def", provenance={}, data={"fingerprint": "f"}, sweep=None, choices={})
    training = Training(other)
    training.steps(1, 2)
    training.end()
    (new,) = server.runs.keys() - {"announced"}
    assert new.startswith("def-") and server.runs[new].project == "lmlab"
    assert "sweep" not in server.runs[new].attributes
    wandb.teardown()
    assert dict(os.environ) == before


def test_an_agent_that_asks_for_a_finished_run_is_given_its_rows(server, run, monkeypatch):
    training = Training(run)
    training.steps(1, 5)
    training.end()
    (first,) = server.runs
    options = {"project": "lmlab", "entity": None, "init_timeout": 10.0, "finish_timeout": 10.0}
    hand_to_agent(run, {"logger": {"wandb": options}})
    assert list(server.runs) == [first], "no agent, nothing to do"
    wandb.teardown()
    for name, value in {"SWEEP_ID": "s", "RUN_ID": "announced", "PROJECT": "theirs", "ENTITY": "someone"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    hand_to_agent(run, {"logger": {"wandb": options}})
    assert list(server.runs) == [first], "offline is offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    hand_to_agent(run, {"logger": {"wandb": options}})
    assert server.runs["announced"].steps == [1, 2, 3, 4, 5]
    assert server.runs["announced"].summary["validation/loss"] == 0.1


def test_a_run_that_is_not_finished_keeps_its_newest_row_until_it_is_whole(server, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    training = Training(run)
    training.steps(1, 5)
    training.end(exit_code=1)
    assert synchronise(run, TIMEOUTS)["rows"] == 4
    wandb.teardown()
    assert server.only_run.exit_code == 1
    training = Training(run)
    training.steps(6, 10)
    training.end()
    assert synchronise(run, TIMEOUTS)["rows"] == 6
    assert_complete(server, run, 10)


def test_without_credentials_sync_says_what_to_do(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    WandbRecord(run).begin(run, WandbOptions.read({}, []))
    with pytest.raises(UserError, match="1 runs wait to be sent, but you are not logged in .* WANDB_API_KEY"):
        sync(run.path.parent, None, 1.0, 1.0)
    wandb.teardown()
    assert len(KEY) == 40


def sent_artifacts(server: WandbServer) -> dict[str, tuple[str, set[str]]]:
    """The committed artifacts that are no tables: their types and the files in them, by name."""
    found = {}
    for artifact in server.artifacts.values():
        assert artifact["committed"]
        if artifact["type"] != "run_table":
            assert artifact["name"] not in found, "one version"
            found[artifact["name"]] = (artifact["type"], set(artifact["files"]) - {"manifest.json"})
    return found


@pytest.fixture
def whole(run) -> Run:
    """A run with weights and a tokenizer, computed with the code of now."""
    run.update(provenance={"code": code_fingerprint(run.config), "git": {"commit": "c0de"}})
    run.weights.write_bytes(b"weights")
    run.tokenizer.mkdir()
    (run.tokenizer / "tokenizer.json").write_text("{}")
    return run


def test_what_is_asked_for_besides_the_rows_arrives_and_only_once(server, whole, capfd):
    options = {"notes": "why", "code": True, "artifacts": ["weights", "samples"]}
    whole.refresh(whole.config | {"logger": {"wandb": options}})
    training = Training(whole, **options)
    training.steps(1, 10)
    training.end()
    assert_complete(server, whole, 10)
    (name,) = server.runs
    assert server.only_run.attributes["notes"] == "why"
    sent = sent_artifacts(server)
    assert sent[f"model-{name}"] == ("model", {"model.safetensors", "config.yaml", "tokenizer/tokenizer.json"})
    assert sent[f"samples-{name}"] == ("samples", {"samples.jsonl"})
    kind, files = sent["lmlab-code"]
    assert kind == "code"
    sources = {f"lmlab/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")}
    configurations = {f"conf/{path.relative_to(CONF).as_posix()}" for path in CONF.rglob("*.yaml")}
    assert files >= sources | configurations and not any("__pycache__" in file for file in files)
    assert {artifact["name"]: artifact["files"] for artifact in server.artifacts.values()}[f"model-{name}"][
        "model.safetensors"
    ] == b"weights"
    assert capfd.readouterr() == ("", "")
    wandb.teardown()
    assert WandbRecord(whole).holds(requested(whole.config))
    assert synchronise(whole, TIMEOUTS)["rows"] == 0
    assert_complete(server, whole, 10)
    assert sent_artifacts(server) == sent
    assert server.only_run.attributes["notes"] == "why"


def test_nothing_is_sent_besides_the_rows_unless_it_is_asked_for(server, whole):
    training = Training(whole)
    training.steps(1, 5)
    training.end()
    assert sent_artifacts(server) == {}


def test_a_run_that_has_failed_has_no_weights_to_send(server, whole):
    training = Training(whole, artifacts=["weights"])
    training.steps(1, 5)
    training.end(exit_code=1)
    assert sent_artifacts(server) == {} and server.only_run.exit_code == 1


def test_a_run_that_was_pruned_has_not_failed(server, whole):
    training = Training(whole, artifacts=["weights"])
    training.steps(1, 5)
    training.logger.finish({"status": "pruned"}, 0)
    assert server.only_run.exit_code == 0 and server.only_run.summary["status"] == "pruned"
    assert sent_artifacts(server) == {} and server.only_run.steps == [1, 2, 3, 4], "it may go on at its last step"
    training = Training(whole)
    training.steps(6, 10)
    training.logger.finish({"status": "finished"}, 0)
    assert server.only_run.summary["status"] == "finished" and server.only_run.steps == list(range(1, 11))


def test_artifacts_asked_for_later_are_sent_by_sync(server, whole, capsys):
    training = Training(whole)
    training.steps(1, 5)
    training.end()
    wandb.teardown()
    sync(whole.path.parent, None, 20.0, 30.0)
    assert "1 of 1 runs are complete" in capsys.readouterr().out
    whole.refresh(whole.config | {"logger": {"wandb": {"artifacts": ["weights"]}}})
    sync(whole.path.parent, None, 20.0, 30.0)
    wandb.teardown()
    assert [kind for kind, _ in sent_artifacts(server).values()] == ["model"]
    capsys.readouterr()
    sync(whole.path.parent, None, 20.0, 30.0)
    assert "1 of 1 runs are complete" in capsys.readouterr().out


def test_code_that_is_not_the_run_s_is_not_passed_off_as_it(server, whole, capfd):
    whole.update(provenance={"code": "another"})
    training = Training(whole, code=True)
    training.steps(1, 5)
    training.end()
    assert_complete(server, whole, 5)
    assert sent_artifacts(server) == {}
    assert "did not receive code" in capfd.readouterr().err
    wandb.teardown()
    whole.refresh(whole.config | {"logger": {"wandb": {"code": True}}})
    row = synchronise(whole, TIMEOUTS)
    assert (row["result"], row["why"]) == ("sent", "without code: not here as the run had it")


def test_weights_that_cannot_be_uploaded_leave_the_run_incomplete_and_are_sent_later(server, whole, capfd):
    server.behave(status=500, only="CreateArtifact$")
    training = Training(whole, artifacts=["weights"], finish_timeout=3.0)
    training.steps(1, 4)
    training.end()
    assert "lmlab wandb sync" in capfd.readouterr().err
    assert not WandbRecord(whole).complete
    training.logger._thread.join(30)
    wandb.teardown()
    server.behave()
    whole.refresh(whole.config | {"logger": {"wandb": {"artifacts": ["weights"]}}})
    assert synchronise(whole, TIMEOUTS)["result"] == "sent"
    assert [kind for kind, _ in sent_artifacts(server).values()] == ["model"]
    assert server.only_run.steps == [1, 2, 3, 4]
