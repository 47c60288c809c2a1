"""The process that trains a run, once per device. It reads nothing but the run directory."""

import logging
import os
import time
import traceback
import warnings
from contextlib import suppress

import torch
from pytorch_lightning.utilities import rank_zero_only

from lmlab.errors import CannotGoOn, Fault, Interrupted, Restart, UserError
from lmlab.own_errors import about
from lmlab.processes import signals
from lmlab.processes.layout import get_rank
from lmlab.processes.signals import INTERRUPTED, end_with_parent
from lmlab.runs import disk
from lmlab.runs.files import write_json
from lmlab.runs.run import Run
from lmlab.sources import use_copy
from lmlab.surroundings import tolerate_encodings
from lmlab.training.worker import train

KNOWN = (UserError, Interrupted, Fault, Restart, CannotGoOn)
"""What says all that there is to say."""

HINTS = (
    r"The `srun` command is available on your system but is not used",
    r"Your `IterableDataset` has `__len__` defined",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)
"""Beginnings of Lightning's warnings that a user of lmlab can do nothing about."""


def main(run: Run) -> None:
    """Be one process of a run: train, and record why it failed where the asking process finds it."""
    tolerate_encodings()
    end_with_parent()
    signals.listen()
    # Where SLURM has numbered the processes, Lightning takes that number for the rank.
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
    if run.code.is_dir():  # whoever started this process has made sure that it may be run
        use_copy(run.code)
    try:
        train(run)
        leave_process_group()
    except Exception as error:
        try:
            with suppress(OSError):  # what cannot be written down now, the asking process meets as well, and says so
                record(run, error)
            logging.shutdown()
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:
                let_the_first_be_found(error)
        finally:
            # At once: another rank may wait for this one in a collective operation.
            os._exit(INTERRUPTED if isinstance(error, Interrupted) else 1)


def is_no_advertisement(record: logging.LogRecord) -> bool:
    """Return whether a line belongs into a run's log: Lightning's tips for products and packages do not."""
    return not (record.name.startswith(("pytorch_lightning", "lightning_fabric")) and "Tip:" in record.getMessage())


def let_the_first_be_found(error: Exception) -> None:
    """Wait, so that a rank whose death made this one fail is seen to have ended before it; until told to stop, at most.

    What this project raises itself stems from no other rank, and all may raise it at once.
    """
    end = time.monotonic() + (1.0 if isinstance(error, KNOWN) else 5.0)
    while time.monotonic() < end and signals.received() is None:
        time.sleep(0.05)


def record(run: Run, error: Exception) -> None:
    """Write down why the run ends, unless another rank has."""
    if not run.error.exists():
        lines = str(error).splitlines() or [""]
        known = isinstance(error, KNOWN)
        unforeseen = f"{type(error).__name__}: {lines[0]}{about(error)}"
        message = disk.reason(error, run) or (lines[0] if known else unforeseen)
        kind = type(error).__name__ if known else "Exception"
        write_json(run.error, {"kind": kind, "message": message, "traceback": traceback.format_exc()})
    if isinstance(error, Interrupted):
        logging.getLogger("lmlab").info("the run ends: %s", error)
    else:
        logging.getLogger("lmlab").error("the run ends", exc_info=error)


def leave_process_group() -> None:
    """End the communication with the other ranks while the interpreter is still whole.

    Gloo's threads may hold tensors of the last operation; one that lets go of them while the interpreter is being taken
    down aborts the process, and a run that is complete would count as failed.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
