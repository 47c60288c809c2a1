"""Check the contract of a run's network before the first step."""

import logging
import sys
from typing import Any, cast

import pytorch_lightning as pl

from lmlab.models import contract
from lmlab.models.contract import Checks
from lmlab.runs.run import Run
from lmlab.training import parallel
from lmlab.training.allocator import is_out_of_memory
from lmlab.training.module import LanguageModeling
from lmlab.training.objectives import eager


class Contract(pl.Callback):
    """Checks the network with its initial weights, on the device and in the precision of training; records ``checks``.

    A network that breaks the contract is trained nevertheless, with a warning: its scores are not comparable.

    Args:
        context: tokens in a sequence of training.
        compiled: the network is compiled for training; it is checked uncompiled.
    """

    def __init__(self, run: Run, context: int, compiled: bool) -> None:
        self.run = run
        self.context = context
        self.compiled = compiled

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step > 0:
            return
        model = cast(LanguageModeling, pl_module).model
        problem = ""
        results: dict[str, Any]
        try:
            with eager(self.compiled):
                checks = contract.check(model, self.context)  # on every rank: the weights may be in shards
            results, problem = checks.as_dict(), describe(checks)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            problem = f"a few tokens cannot be read, one by one or at once ({type(error).__name__}: {error})"
            results = {"causal": False, "stepwise": None, "stepwise_agrees": False}
        parallel.reshard(model)
        if not trainer.is_global_zero:
            return
        self.run.update(checks=results)
        if problem:
            text = f"{self.run.path.name}: {problem}; its results cannot be compared with others"
            logging.getLogger("lmlab").warning(text)
            print(f"WARNING: {text}", file=sys.stderr)


def describe(checks: Checks) -> str:
    """Return a description of the violations; empty if there are none."""
    wrong = []
    if not checks.causal:
        wrong.append("positions of this network see tokens after their own")
    if not checks.stepwise_agrees:
        apart = "NaN" if checks.stepwise is None else f"logits {checks.stepwise:.2g} apart"
        wrong.append(
            f"reading one by one differs from reading at once ({apart}, tolerance {checks.tolerance:g} in "
            f"{checks.dtype})"
        )
    return " and ".join(wrong)
