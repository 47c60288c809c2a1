"""The process that trains a run, once per device. It reads only the run directory."""

import logging
import os
import time
import traceback
import warnings
from contextlib import suppress

import torch
from pytorch_lightning.utilities import rank_zero_only

from lmlab.config.sources import about, use_copy
from lmlab.errors import CannotGoOn, Fault, Interrupted, Restart, UserError
from lmlab.processes import signals
from lmlab.processes.layout import get_rank
from lmlab.processes.signals import INTERRUPTED, end_with_parent
from lmlab.runs import disk
from lmlab.runs.files import write_json
from lmlab.runs.run import Run
from lmlab.surroundings import tolerate_encodings
from lmlab.training.worker import train

KNOWN = (UserError, Interrupted, Fault, Restart, CannotGoOn)
"""Errors whose message is complete without a traceback."""

HINTS = (
    r"The `srun` command is available on your system but is not used",
    r"Your `IterableDataset` has `__len__` defined",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)
"""Beginnings of Lightning's warnings that a user of lmlab cannot act on."""


def main(run: Run) -> None:
    """Train as one process of a run, and record a failure for the launching process."""
    tolerate_encodings()
    end_with_parent()
    signals.listen()
    # Under SLURM, Lightning would use the number of the SLURM task as the rank.
    rank_zero_only.rank = get_rank()  # type: ignore[attr-defined]
    logging.basicConfig(
        handlers=[disk.LogFile(run.log, encoding="utf-8", errors="backslashreplace", delay=True)],
        level=logging.INFO,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    logging.captureWarnings(True)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).handlers.clear()  # to the run's log, not to the terminal
        logging.getLogger(name).propagate = True
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_no_advertisement)
    warnings.simplefilter("default")
    for message in HINTS:
        warnings.filterwarnings("ignore", message)
    if run.code.is_dir():  # the launching process has checked that it may run
        use_copy(run.code)
    try:
        train(run)
        leave_process_group()
    except Exception as error:
        try:
            with suppress(OSError):  # if it cannot be written, the launching process reports the same problem
                record(run, error)
            logging.shutdown()
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:
                let_the_first_end(error)
        finally:
            # Exit immediately: another rank may wait for this one in a collective operation.
            os._exit(INTERRUPTED if isinstance(error, Interrupted) else 1)


def is_no_advertisement(record: logging.LogRecord) -> bool:
    """Return whether a record belongs into a run's log: Lightning's tips for products and packages do not."""
    return not (record.name.startswith(("pytorch_lightning", "lightning_fabric")) and "Tip:" in record.getMessage())


def let_the_first_end(error: Exception) -> None:
    """Wait, so that a rank whose death made this one fail is seen to end first; a stop signal ends the wait.

    This project's own errors are not caused by another rank, and all ranks may raise them at once.
    """
    end = time.monotonic() + (1.0 if isinstance(error, KNOWN) else 5.0)
    while time.monotonic() < end and signals.received() is None:
        time.sleep(0.05)


def record(run: Run, error: Exception) -> None:
    """Record the reason why the run ends, unless another rank has."""
    if not run.error.exists():
        lines = str(error).splitlines() or [""]
        expected = isinstance(error, KNOWN)
        description = f"{type(error).__name__}: {lines[0]}{about(error)}"
        message = disk.reason(error, run) or (lines[0] if expected else description)
        kind = type(error).__name__ if expected else "Exception"
        write_json(run.error, {"kind": kind, "message": message, "traceback": traceback.format_exc()})
    if isinstance(error, Interrupted):
        logging.getLogger("lmlab").info("the run ends: %s", error)
    else:
        logging.getLogger("lmlab").error("the run ends", exc_info=error)


def leave_process_group() -> None:
    """End the communication with the other ranks before the interpreter shuts down.

    Gloo's threads may hold tensors of the last operation. Freeing them during the interpreter's shutdown aborts the
    process, and a completed run would count as failed.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
