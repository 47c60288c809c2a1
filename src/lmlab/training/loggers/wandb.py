"""Weights & Biases: online when the user is logged in, offline otherwise; one W&B run per run, kept across attempts."""

import json
import os
import secrets
import sys
from typing import Any, Literal

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lmlab.runs.execution import get_rank
from lmlab.runs.files import read_jsonl, write_json
from lmlab.runs.run import Run


class WandbRunLogger(Logger):
    """Sends metrics, samples, config and summary to one W&B run.

    The W&B run's id and the last step sent lie in ``wandb.json`` of the run directory. A resumed attempt continues the
    same W&B run and sends nothing twice: rows that it computes again are, step for step, the ones already sent.
    """

    def __init__(self, run: Run, wandb_run: Any) -> None:
        super().__init__()
        self.run = run
        self.wandb_run = wandb_run
        self._file = run.path / "wandb.json"
        sent = json.loads(self._file.read_text())["sent_step"] if self._file.exists() else -1
        self._already_sent: int = sent
        self._sent: int = sent

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str:
        return str(self.wandb_run.id)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the whole configuration was given to ``wandb.init``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        if step > self._already_sent:
            self.wandb_run.log({**metrics, "step": step}, step=step)
            self._sent = step

    @rank_zero_only
    def log_sample(self, row: dict[str, Any]) -> None:
        """Show a sample; a W&B table cannot grow, so the newest one holds all samples so far."""
        import wandb

        if row["step"] > self._already_sent:
            rows = [[old["step"], old["tokens"], old["text"]] for old in read_jsonl(self.run.samples)]
            table = wandb.Table(columns=["step", "tokens", "text"], data=rows)
            self.wandb_run.log({"samples": table}, step=row["step"])

    @rank_zero_only
    def save(self) -> None:
        # Every attempt of an offline run has a folder of its own.
        place = {"url": self.wandb_run.url} if self.wandb_run.url else {}
        write_json(self._file, {"id": self.wandb_run.id, "sent_step": self._sent, **place})

    def finish(self, summary: dict[str, Any], exit_code: int) -> None:
        """Close the W&B run with the final metrics, as finished (0) or failed."""
        self.wandb_run.summary.update(summary)
        self.wandb_run.finish(exit_code=exit_code)
        self.save()


def wandb_logger(
    run: Run,
    project: str = "lmlab",
    entity: str | None = None,
    group: str | None = None,
    mode: Literal["auto", "online", "offline"] = "auto",
    init_timeout: float = 20.0,
) -> Logger | None:
    """Start (or continue) the W&B run of ``run`` and return its logger; ``None`` on all ranks but the first.

    Args:
        group: groups runs in the W&B pages; ``None``: the sweep that the run is part of.
        mode: ``auto`` is online if credentials are found (``WANDB_API_KEY`` or ``wandb login``), else offline; the
            environment variable ``WANDB_MODE`` goes before it.
        init_timeout: seconds to wait for the server before going on offline.
    """
    if get_rank() != 0:
        return None
    import wandb

    manifest, config = run.manifest, run.config
    os.environ["WANDB_SILENT"] = "true"
    chosen: Any = os.environ.get("WANDB_MODE") or (mode if mode != "auto" else "online" if _logged_in() else "offline")
    kept = run.path / "wandb.json"
    arguments: dict[str, Any] = {
        "project": project,
        "entity": entity,
        # Not the run's own id: a colleague's run of the same configuration is another W&B run.
        "id": json.loads(kept.read_text())["id"] if kept.exists() else f"{manifest['id']}-{secrets.token_hex(3)}",
        "name": run.path.name,
        "group": group or manifest.get("sweep"),
        "job_type": "train",
        "tags": manifest["tags"] or None,
        "config": {**config, "provenance": manifest["provenance"], "data_fingerprint": manifest["data"]["fingerprint"]},
        "dir": str(run.path),
        "resume": "allow" if chosen == "online" and kept.exists() else None,
    }
    settings = wandb.Settings(init_timeout=init_timeout, console="off", x_disable_stats=chosen != "online")
    try:
        wandb_run = wandb.init(**arguments, mode=chosen, settings=settings)
    except (wandb.errors.CommError, wandb.errors.UsageError, TimeoutError):
        wandb.teardown()
        print("W&B cannot be reached; this run is logged offline.", file=sys.stderr)
        wandb_run = wandb.init(**{**arguments, "resume": None}, mode="offline", settings=settings)
    wandb_run.define_metric("tokens")
    wandb_run.define_metric("step")
    for names in ("train/*", "validation/*", "time/*"):
        wandb_run.define_metric(names, step_metric="tokens")
    logger = WandbRunLogger(run, wandb_run)
    logger.save()  # an attempt that is killed before its first checkpoint leaves its id behind too
    return logger


def _logged_in() -> bool:
    """Whether credentials exist, without asking the user or the network anything."""
    import wandb

    return wandb.login(prompt=False, verify=False)
