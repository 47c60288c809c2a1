"""Mirror a run's metrics to W&B; interruptible and resumable.

``metrics.jsonl`` and ``samples.jsonl`` hold everything that was logged. W&B receives one row per step, in the order
of steps and only when the row is complete. So its server always holds a prefix of the rows in the run directory, and
the last step on the server determines the missing rows.
"""

import os
import secrets
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from glob import escape
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

from lmlab.runs.files import numbers, read_json, read_jsonl, write_json
from lmlab.runs.run import Run
from lmlab.surroundings import drop_empty_variables
from lmlab.wandb.artifacts import code, of_finished
from lmlab.wandb.settings import (
    LONGEST_NAME,
    WandbOptions,
    check_settings,
    own_folder,
    wandb_dir,
)

Row = dict[str, Any]
"""Scalars logged at one step and, under ``samples``, the rows of a table of all texts so far."""


def recorded_rows(run: Run) -> list[Row]:
    """Return everything that the run directory holds, one row per step."""
    rows: dict[int, Row] = {}
    for row in read_jsonl(run.metrics):
        rows.setdefault(row["step"], {}).update(numbers(row))
    samples = read_jsonl(run.samples)
    for number, sample in enumerate(samples):
        row = rows.setdefault(sample["step"], {"step": sample["step"], "tokens": sample["tokens"]})
        row["samples"] = samples[: number + 1]
    return [rows[step] for step in sorted(rows)]


TABLE_ROWS = 200
"""Number of predictions in a table at W&B, the first ones; the run directory has all."""


def recorded_evaluations(run: Run) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
    """Return the scores of evaluations with predictions, and the first predictions of each, by their names at W&B.

    A name has the data, the split and, if they are not the usual, shots and settings of decoding: ``multi30k/test/4
    shots``. Of several evaluations, the newest counts.
    """
    scores: dict[str, float] = {}
    predictions: dict[str, list[dict[str, Any]]] = {}
    for row in read_jsonl(run.path / "evaluations.jsonl"):
        about, settings = row.get("predictions", {}), row["settings"]
        if "file" not in about:
            continue
        shots = [f"{settings['shots']} shots"] if "shots" in settings else []
        decoding = [settings["decoding"]] if "decoding" in settings else []
        name = "/".join([row["data"]["name"], settings["split"], *shots, *decoding])
        scores |= {f"evaluations/{name}/{key}": value for key, value in numbers(row["metrics"]["answers"]).items()}
        with suppress(OSError, ValueError):
            if rows := read_jsonl(run.path / about["file"])[:TABLE_ROWS]:
                predictions[f"predictions/{name}"] = rows
    return scores, predictions


class WandbRecord:
    """``wandb.json`` of a run directory: identifies its W&B run, and states whether that has everything.

    A run started by ``wandb agent`` uses the W&B run that the agent has announced to its sweep.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.path / "wandb.json"
        self.fields: dict[str, Any] = read_json(self.path) if self.path.exists() else {}

    @property
    def exists(self) -> bool:
        return bool(self.fields)

    @property
    def complete(self) -> bool:
        """Return whether the server has confirmed that it holds everything logged so far."""
        return bool(self.fields.get("complete"))

    def holds(self, artifacts: Collection[str]) -> bool:
        """Return whether the server also holds the requested artifacts."""
        return self.complete and set(artifacts) <= set(self.fields.get("artifacts", []))

    def begin(self, run: Run, options: WandbOptions) -> None:
        """Identify the W&B run, unless that was done earlier, before anything is sent to it."""
        place: dict[str, Any] = {"project": options.project, "entity": options.entity}
        if under_agent():
            agent = {key: os.environ.get(f"WANDB_{key.upper()}") for key in place}
            place = {"id": os.environ["WANDB_RUN_ID"]} | {key: agent[key] or value for key, value in place.items()}
        elif self.exists:
            place = {key: self.fields[key] for key in ("id", "project", "entity", "url") if key in self.fields}
        else:
            # Not the run's own id: a colleague's run of the same configuration is another W&B run.
            place["id"] = f"{run.id}-{secrets.token_hex(3)}"
        about = {key: getattr(options, key) for key in ("name", "group", "notes", "job_type", "tags")}
        self.fields = {}
        self.save(**place, **{key: value for key, value in about.items() if value}, complete=False)

    def save(self, **fields: Any) -> None:
        self.fields |= fields
        write_json(self.path, self.fields)


class WandbRun:
    """An open W&B run.

    Args:
        run, record: the run and the record that identifies its W&B run.
        mode: ``online`` continues the run of that id on the server; ``offline`` writes a file that holds everything
            from the first row on.
        folder: the parent of W&B's own folder.
        artifacts: names of the requested artifacts.
        init_timeout: seconds to wait for the server's first answers.
        finish_timeout: seconds that :meth:`close` waits for the delivery of everything.

    Raises:
        Exception: any error of wandb, also for a server that does not answer in time.
    """

    def __init__(
        self,
        run: Run,
        record: WandbRecord,
        mode: Literal["online", "offline"],
        folder: Path,
        artifacts: Sequence[str],
        init_timeout: float,
        finish_timeout: float,
    ) -> None:
        import wandb

        self.run, self.record, self.online, self.requested = run, record, mode == "online", artifacts
        if not self.online:
            stop_telemetry()
        manifest, fields = run.manifest, record.fields
        group = fields.get("group") or manifest.get("sweep")
        about = {"provenance": manifest["provenance"], "data_fingerprint": manifest["data"]["fingerprint"]}
        self.run_at_wandb: Any = wandb.init(
            project=fields["project"],
            entity=fields["entity"],
            id=fields["id"],
            name=(fields.get("name") or run.path.name)[:LONGEST_NAME],
            group=group and group[:LONGEST_NAME],
            job_type=fields.get("job_type") or "train",
            notes=fields.get("notes"),
            tags=manifest["tags"] or fields.get("tags"),
            config={**run.config, **about},
            dir=str(folder),
            mode=mode,
            resume="allow" if self.online else None,
            settings=wandb.Settings(
                console="off",
                silent=True,
                x_disable_stats=not self.online,
                init_timeout=init_timeout,
                finish_timeout=finish_timeout,
                finish_timeout_raises=True,
            ),
        )
        self.first_step: int = self.run_at_wandb.starting_step
        """Rows of earlier steps are already on the server."""
        self.last_step = self.first_step - 1
        self.sent = 0
        if self.online:
            # The server knows the name of the default entity.
            record.save(url=self.run_at_wandb.url, entity=self.run_at_wandb.entity, project=self.run_at_wandb.project)
        self.run_at_wandb.define_metric("tokens")
        self.run_at_wandb.define_metric("step")
        for names in ("train/*", "validation/*", "longer/*", "time/*"):
            self.run_at_wandb.define_metric(names, step_metric="tokens")
        self.finish_timeout = finish_timeout
        self.left_out: list[str] = []
        """Requested artifacts that are missing here or differ from the run's."""
        self._artifacts: dict[str, Any] = {}
        if "code" in artifacts:
            try:
                self._log("code", code(run, folder / "wandb" / f"code-{fields['id']}"))
            except OSError:  # for example a full disk: the rows matter more
                self.left_out.append("code")

    def send(self, row: Row) -> None:
        """Send a complete row, unless the server has it."""
        step = row["step"]
        if step <= self.last_step:
            return
        scalars = {name: value for name, value in row.items() if name != "samples"}
        try:
            shown = {"samples": _table(row["samples"])} if "samples" in row else {}
            self.run_at_wandb.log({**scalars, **shown}, step=step, commit=True)
        except Exception:
            # A table, unlike a number, waits for the server; the next table contains these rows too.
            self.run_at_wandb.log(scalars, step=step, commit=True)
        self.last_step = step
        self.sent += 1

    def close(self, summary: dict[str, Any], exit_code: int) -> None:
        """Deliver everything, with the final metrics and all samples, and record whether it has arrived.

        Artifacts are sent for a finished run, not for one whose summary has the status pruned.

        Raises:
            TimeoutError: the delivery took too long.
            ConnectionError: the server does not have everything.
        """
        samples = read_jsonl(self.run.samples)
        try:
            self.run_at_wandb.summary.update(summary)
            if samples:
                self.run_at_wandb.summary["samples"] = _table(samples)
            scores, predictions = recorded_evaluations(self.run)
            self.run_at_wandb.summary.update(scores)
            for name, rows in predictions.items():
                self.run_at_wandb.summary[name] = _table_of_predictions(rows)
            whole = exit_code == 0 and summary.get("status") != "pruned"
            for kind in self.requested if whole else ():
                if kind != "code":  # sent when the run was opened
                    self._log(kind, of_finished(self.run, kind, self.run_at_wandb.id))
            for artifact in self._artifacts.values() if self.online else ():
                artifact.wait(int(self.finish_timeout))
        finally:
            self.run_at_wandb.finish(exit_code=exit_code)
        if self.online:
            self._check_arrival("failed" if exit_code else "finished")
            # Missing weights do not come back, but the code can be checked out again.
            settled = [kind for kind in self.requested if kind != "code" or "code" in self._artifacts]
            self.record.save(complete=True, artifacts=settled)

    def _log(self, kind: str, artifact: Any | None) -> None:
        if artifact is None:
            self.left_out.append(kind)
        else:
            self._artifacts[kind] = self.run_at_wandb.log_artifact(artifact)

    def _check_arrival(self, state: str) -> None:
        """Ask the server whether everything arrived: wandb drops refused data silently, and accepted data may be late.

        Raises ``ConnectionError``.
        """
        import wandb

        path = f"{self.run_at_wandb.entity}/{self.run_at_wandb.project}/{self.run_at_wandb.id}"
        for seconds in (0, 1, 2):
            time.sleep(seconds)
            copy = wandb.Api(timeout=10).run(path)
            if copy.lastHistoryStep >= self.last_step and copy.state == state:
                return
        raise ConnectionError(
            f"the server knows steps up to {copy.lastHistoryStep} of {self.last_step} and the state '{copy.state}'"
        )


def under_agent() -> bool:
    """Return whether ``wandb agent`` has started this process for a run that it has announced to its sweep."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def set_up() -> None:
    """Configure wandb to print nothing and to be online; each opened run sets its own mode.

    With a settings file that says offline or disabled, ``wandb.login`` would find no credentials.

    Raises:
        UserError: wandb would refuse its own settings: see :func:`check_settings`.
    """
    import wandb

    if (preloaded := sys.modules.get("lmlab.wandb.preload")) is not None:
        preloaded.make_temporary_folders()
    drop_empty_variables()  # wandb uses and sometimes refuses empty values
    check_settings()
    # For every value, wandb checks for a pandas table, which would import pandas. The name of the value's type is
    # enough for that.
    wandb.util.pd_available = False
    wandb.util.working_set = installed_packages  # the original takes a tenth of a second, at the start of every run
    settings = wandb.Settings(silent=True, mode="online")
    wandb.termsetup(settings, None)  # otherwise it prints that it reads settings files
    wandb.setup(settings)


def installed_packages() -> Iterator[Any]:
    """Yield the installed packages like ``wandb.util.working_set``, which parses all of their metadata twice."""
    from wandb.util import InstalledDistribution

    for distribution in distributions():
        with suppress(UnicodeDecodeError):
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
            rows = (line.partition(": ") for line in text.partition("\n\n")[0].splitlines())
            fields = {name: value for name, _, value in rows if name in ("Name", "Version")}
            if len(fields) == 2:
                yield InstalledDistribution(key=fields["Name"], version=fields["Version"])


def stop_telemetry() -> None:
    """Switch off wandb's reports about its own library in this process: it would send them for offline runs too."""
    with suppress(ImportError):  # a version of wandb without them
        from wandb.analytics.opentelemetry.opentelemetry_proxy import disable

        disable()


def logged_in() -> bool:
    """Return whether credentials exist, without prompting or network access."""
    import wandb

    set_up()
    return wandb.login(prompt=False, verify=False)


def parent_folder(run: Run) -> Path:
    """Return the parent of W&B's own folder of a run in training: ``WANDB_DIR``, or the run directory."""
    return wandb_dir() or run.path


def remove_earlier_attempts(run: Run, wandb_id: str) -> None:
    """Delete W&B's own folders of earlier attempts; the new attempt or the server holds their content."""
    shutil.rmtree(run.path / "wandb", ignore_errors=True)
    for pattern in (f"*run-????????_??????-{escape(wandb_id)}", f"code-{escape(wandb_id)}"):
        for folder in own_folder(parent_folder(run)).glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def _table(samples: list[Row]) -> Any:
    """Return a W&B table of all samples so far; tables on W&B cannot grow."""
    import wandb

    names = ["step", "tokens", "text"]
    return wandb.Table(columns=[*names], data=[[sample[name] for name in names] for sample in samples])


def _table_of_predictions(rows: list[dict[str, Any]]) -> Any:
    """Return a W&B table of predictions, with lists (right answers, choices and their scores) as one text."""
    import wandb

    names = list(rows[0])
    cells = [
        [" / ".join(map(str, row[name])) if isinstance(row[name], list) else row[name] for name in names]
        for row in rows
    ]
    return wandb.Table(columns=[*names], data=cells)
