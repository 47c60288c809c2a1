"""W&B logger: online if the user is logged in, offline otherwise; all attempts of a run share one W&B run."""

import queue
import sys
import threading
from collections.abc import Sequence
from typing import Any, Literal

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lmlab.processes.layout import get_rank
from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run
from lmlab.training.loggers.logger import RunLogger, row_of
from lmlab.wandb.artifacts import Kind
from lmlab.wandb.mirror import (
    Row,
    WandbRecord,
    WandbRun,
    logged_in,
    parent_folder,
    recorded_rows,
    remove_earlier_attempts,
    set_up,
)
from lmlab.wandb.settings import WandbOptions

SYNC = "lmlab wandb sync sends what is missing"


class WandbRunLogger(RunLogger):
    """Sends metrics, samples, config and summary to one W&B run, from a thread of its own.

    Delays and errors of wandb in that thread affect training in no way: the rows are in the run directory, and
    ``wandb.json`` states whether the server has them all. Rows that a resumed attempt recomputes are not sent again,
    because they equal those already sent.
    """

    def __init__(
        self,
        run: Run,
        options: WandbOptions,
        artifacts: Sequence[str],
        init_timeout: float,
        finish_timeout: float,
    ) -> None:
        super().__init__()
        self.run = run
        self.mode = options.mode
        self.artifacts = artifacts
        self.timeouts = {"init_timeout": init_timeout, "finish_timeout": finish_timeout}
        self.record = WandbRecord(run)
        self.record.begin(run, options)
        remove_earlier_attempts(run, self.version)
        self._row: Row = {}
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._end: tuple[dict[str, Any], int] = ({}, 1)
        self._before = recorded_rows(run)  # up to the checkpoint of this attempt, so complete
        self._said = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="wandb")
        self._thread.start()

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str:
        return str(self.record.fields["id"])

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if row := row_of(metrics, step, self.module):
            self._at(row["step"]).update(row)

    @rank_zero_only
    def log_sample(self, row: Row) -> None:
        """Log a table of this sample and all earlier ones."""
        self._at(row["step"]).update(tokens=row["tokens"], samples=read_jsonl(self.run.samples))

    def _at(self, step: int) -> Row:
        """Return the row of ``step``; queue the previous row, which is now complete."""
        if self._row and self._row["step"] != step:
            self._rows.put(self._row)
            self._row = {}
        self._row["step"] = step
        return self._row

    def finish(self, summary: dict[str, Any], exit_code: int) -> None:
        """Close the W&B run with the final metrics, as finished (0) or failed, in bounded time."""
        if self._row and exit_code == 0 and summary.get("status") != "pruned":  # a pruned run may resume at this step
            self._rows.put(self._row)
        self._end = (summary, exit_code)
        self._rows.put(None)
        self._thread.join(sum(self.timeouts.values()))
        if self._thread.is_alive():
            self._say("W&B does not accept the data", "no answer in time")

    def _work(self) -> None:
        try:
            opened = self._open()
            for row in self._before:
                opened.send(row)
            while (next_row := self._rows.get()) is not None:
                opened.send(next_row)
            opened.close(*self._end)
            for kind in opened.left_out:
                print(f"W&B did not receive {kind}: it is missing here, or differs from the run's.", file=sys.stderr)
        except Exception as error:
            self._say("W&B did not receive everything", error)

    def _open(self) -> WandbRun:
        import wandb

        set_up()
        mode = self.mode or ("online" if logged_in() else "offline")
        folder = parent_folder(self.run)
        start = lambda mode: WandbRun(self.run, self.record, mode, folder, self.artifacts, **self.timeouts)  # noqa: E731
        if mode == "online":
            try:
                return start("online")
            except Exception as error:
                self._say("W&B cannot be reached, logging this run offline", error)
                wandb.teardown()
                set_up()
        return start("offline")

    def _say(self, what: str, why: Any) -> None:
        """Report the first failure to send something to W&B; later ones are silent."""
        if not self._said:
            self._said = True
            reason = (str(why).splitlines() or [type(why).__name__])[0]
            print(f"{what} ({reason}); {SYNC}.", file=sys.stderr)


def wandb_logger(
    run: Run,
    project: str | None = None,
    entity: str | None = None,
    name: str | None = None,
    group: str | None = None,
    notes: str | None = None,
    code: bool = False,
    artifacts: Sequence[Kind] = (),
    mode: Literal["auto", "online", "offline", "disabled"] = "auto",
    init_timeout: float = 20.0,
    finish_timeout: float = 30.0,
) -> Logger | None:
    """Start (or continue) the W&B run of ``run`` and return its logger; ``None`` on all ranks but the first.

    An option that is ``None`` is read from W&B's own variables and settings files (:mod:`lmlab.wandb.settings`).

    Args:
        project: ``None``: from W&B's settings, or ``lmlab``.
        name: ``None``: from W&B's settings, or the name of the run's directory.
        group: groups runs in the W&B pages; ``None``: the sweep that the run is part of.
        notes: text for readers of the W&B page; ``None`` leaves the existing text.
        code: send lmlab's sources, its configurations and the user's modules of the run.
        artifacts: artifacts of a finished run to send: ``weights`` (with the configuration and the tokenizer),
            ``samples``.
        mode: ``auto``: from W&B's settings (``WANDB_MODE``, which also overrides the other values, or ``wandb
            offline``), or else online if credentials are found (``WANDB_API_KEY`` or ``wandb login``). If W&B is
            disabled, nothing is logged with any value.
        init_timeout: seconds to wait for the server before logging offline; training continues in the meantime.
        finish_timeout: seconds to wait at the end of a run for data that are not delivered yet.
    """
    if get_rank() != 0:
        return None
    section = {"project": project, "entity": entity, "name": name, "group": group, "notes": notes, "mode": mode}
    options = WandbOptions.read(section, run.manifest["tags"])
    if options is None:
        return None
    requested = [*(["code"] if code else []), *artifacts]
    return WandbRunLogger(run, options, requested, init_timeout, finish_timeout)
