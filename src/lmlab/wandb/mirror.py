"""The W&B run of a run: a copy of its rows, which can be cut short anywhere and completed later.

``metrics.jsonl`` and ``samples.jsonl`` hold everything that was logged. W&B is sent one row a step, in the order of
steps and only once the row is whole, so that what its server holds is always a beginning of what the run directory
holds, and the last step that the server knows says all about what it lacks.
"""

import os
import secrets
import shutil
import time
from glob import escape
from pathlib import Path
from typing import Any, Literal

from lmlab.runs.files import numbers, read_json, read_jsonl, write_json
from lmlab.runs.run import Run
from lmlab.wandb.artifacts import Extras, code, of_finished
from lmlab.wandb.settings import (
    LONGEST_NAME,
    WandbOptions,
    check_settings,
    forget_empty_variables,
    own_folder,
    wandb_dir,
)

Row = dict[str, Any]
"""What was logged at one step: its scalars and, under ``samples``, the rows of a table of all texts so far."""


def recorded_rows(run: Run) -> list[Row]:
    """Everything that the run directory holds, one row a step."""
    rows: dict[int, Row] = {}
    for row in read_jsonl(run.metrics):
        rows.setdefault(row["step"], {}).update(numbers(row))
    samples = read_jsonl(run.samples)
    for number, sample in enumerate(samples):
        row = rows.setdefault(sample["step"], {"step": sample["step"], "tokens": sample["tokens"]})
        row["samples"] = samples[: number + 1]
    return [rows[step] for step in sorted(rows)]


class WandbRecord:
    """``wandb.json`` of a run directory: which W&B run it has, and whether that one holds everything.

    A run started by ``wandb agent`` is the one that the agent has announced to its sweep, whichever it was before.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.path / "wandb.json"
        self.fields: dict[str, Any] = read_json(self.path) if self.path.exists() else {}

    @property
    def exists(self) -> bool:
        return bool(self.fields)

    @property
    def complete(self) -> bool:
        """Whether the server has told that it holds everything that was logged so far."""
        return bool(self.fields.get("complete"))

    def holds(self, extras: Extras) -> bool:
        """Whether the server holds, besides, the artifacts that are asked for."""
        return self.complete and set(extras.kinds) <= set(self.fields.get("artifacts", []))

    def begin(self, run: Run, options: WandbOptions) -> None:
        """Name the W&B run, if it has no name yet, before anything is sent to it."""
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
        run, record: what it is of, and which one it is.
        mode: ``online`` continues what the server has under that id; ``offline`` writes a file that holds everything
            from the first row on.
        folder: the parent of W&B's own folder.
        extras: what else it is given.
        init_timeout: seconds to wait for the server's first answers.
        finish_timeout: seconds that :meth:`close` waits until everything is delivered.

    Raises:
        Exception: whatever wandb raises, also for a server that does not answer in time.
    """

    def __init__(
        self,
        run: Run,
        record: WandbRecord,
        mode: Literal["online", "offline"],
        folder: Path,
        extras: Extras,
        init_timeout: float,
        finish_timeout: float,
    ) -> None:
        import wandb

        self.run, self.record, self.online, self.extras = run, record, mode == "online", extras
        manifest, fields = run.manifest, record.fields
        group = extras.group or fields.get("group") or manifest.get("sweep")
        about = {"provenance": manifest["provenance"], "data_fingerprint": manifest["data"]["fingerprint"]}
        self.run_at_wandb: Any = wandb.init(
            project=fields["project"],
            entity=fields["entity"],
            id=fields["id"],
            name=(extras.name or fields.get("name") or run.path.name)[:LONGEST_NAME],
            group=group and group[:LONGEST_NAME],
            job_type=fields.get("job_type") or "train",
            notes=extras.notes or fields.get("notes"),
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
        """Rows of earlier steps are at the server already."""
        self.last_step = self.first_step - 1
        self.sent = 0
        if self.online:
            # The server knows better what the entity is called if none was asked for.
            record.save(url=self.run_at_wandb.url, entity=self.run_at_wandb.entity, project=self.run_at_wandb.project)
        self.run_at_wandb.define_metric("tokens")
        self.run_at_wandb.define_metric("step")
        for names in ("train/*", "validation/*", "longer/*", "time/*"):
            self.run_at_wandb.define_metric(names, step_metric="tokens")
        self.finish_timeout = finish_timeout
        self.left_out: list[str] = []
        """Artifacts that were asked for but are not here as the run had them."""
        self._artifacts: dict[str, Any] = {}
        if extras.code:
            try:
                self._log("code", code(run, folder / "wandb" / f"code-{fields['id']}"))
            except OSError:  # no disk for the copy, say: the rows matter more
                self.left_out.append("code")

    def send(self, row: Row) -> None:
        """Send a row that is whole, unless the server has it."""
        step = row["step"]
        if step <= self.last_step:
            return
        scalars = {name: value for name, value in row.items() if name != "samples"}
        try:
            shown = {"samples": _table(row["samples"])} if "samples" in row else {}
            self.run_at_wandb.log({**scalars, **shown}, step=step, commit=True)
        except Exception:
            # A table, other than a number, waits for the server; the next one holds this one's rows too.
            self.run_at_wandb.log(scalars, step=step, commit=True)
        self.last_step = step
        self.sent += 1

    def close(self, summary: dict[str, Any], exit_code: int) -> None:
        """Deliver everything, with the final metrics and all samples, and record whether it has arrived.

        Artifacts are those of a run that has finished, not of one whose summary says that it was pruned.

        Raises:
            TimeoutError: it could not be delivered in time.
            ConnectionError: the server does not have it.
        """
        samples = read_jsonl(self.run.samples)
        try:
            self.run_at_wandb.summary.update(summary)
            if samples:
                self.run_at_wandb.summary["samples"] = _table(samples)
            whole = exit_code == 0 and summary.get("status") != "pruned"
            for kind in self.extras.artifacts if whole else ():
                self._log(kind, of_finished(self.run, kind, self.run_at_wandb.id))
            for artifact in self._artifacts.values() if self.online else ():
                artifact.wait(int(self.finish_timeout))
        finally:
            self.run_at_wandb.finish(exit_code=exit_code)
        if self.online:
            self._check_arrival("failed" if exit_code else "finished")
            # Weights that are gone stay gone; the code can be checked out again.
            settled = [kind for kind in self.extras.kinds if kind != "code" or "code" in self._artifacts]
            self.record.save(complete=True, artifacts=settled)

    def _log(self, kind: str, artifact: Any | None) -> None:
        if artifact is None:
            self.left_out.append(kind)
        else:
            self._artifacts[kind] = self.run_at_wandb.log_artifact(artifact)

    def _check_arrival(self, state: str) -> None:
        """Ask the server: wandb gives up silently on what is refused for good, and what was accepted may take a while.

        Raises ``ConnectionError``.
        """
        import wandb

        path = f"{self.run_at_wandb.entity}/{self.run_at_wandb.project}/{self.run_at_wandb.id}"
        for seconds in (0, 1, 2):
            time.sleep(seconds)
            found = wandb.Api(timeout=10).run(path)
            if found.lastHistoryStep >= self.last_step and found.state == state:
                return
        raise ConnectionError(
            f"the server knows steps up to {found.lastHistoryStep} of {self.last_step} and the state '{found.state}'"
        )


def under_agent() -> bool:
    """Whether ``wandb agent`` has started this process, for a run that it has announced to its sweep."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def set_up() -> None:
    """Set wandb up to print nothing, and online: each run that is opened has a mode of its own.

    Where its files say offline or disabled, ``wandb.login`` would find no credentials.

    Raises:
        UserError: wandb would not take its own settings: see :func:`check_settings`.
    """
    import wandb

    forget_empty_variables()
    check_settings()
    # Of every value, wandb asks whether it is a table of pandas. It would import pandas to answer that; the name of the
    # value's type says it as well.
    wandb.util.pd_available = False
    settings = wandb.Settings(silent=True, mode="online")
    wandb.termsetup(settings, None)  # reading its settings files is the first thing that it would announce
    wandb.setup(settings)


def logged_in() -> bool:
    """Whether credentials exist, without asking the user or the network anything."""
    import wandb

    set_up()
    return wandb.login(prompt=False, verify=False)


def parent_folder(run: Run) -> Path:
    """Return where W&B's own folder of a run that trains goes: as ``WANDB_DIR`` says, or into the run's directory."""
    return wandb_dir() or run.path


def remove_earlier_attempts(run: Run, wandb_id: str) -> None:
    """Delete W&B's own folders of earlier attempts: a new one's holds what theirs hold, or the server does."""
    shutil.rmtree(run.path / "wandb", ignore_errors=True)
    for pattern in (f"*run-????????_??????-{escape(wandb_id)}", f"code-{escape(wandb_id)}"):
        for folder in own_folder(parent_folder(run)).glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def _table(samples: list[Row]) -> Any:
    """A W&B table cannot grow: each holds all samples so far."""
    import wandb

    names = ["step", "tokens", "text"]
    return wandb.Table(columns=[*names], data=[[sample[name] for name in names] for sample in samples])
