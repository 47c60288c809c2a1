"""Measure the overhead of Lightning: this project's training against a plain PyTorch loop over the same network.

    python scripts/benchmark/lightning_overhead.py [--experiment shakespeare_cpu] [overrides ...]

Both use the same batches, objective, optimizer, clipping and schedule; this project's arm also has its callbacks, rows
of metrics and progress.
"""

import time
from itertools import pairwise
from pathlib import Path

import harness
import torch

from lmlab.config.build import build
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config
from lmlab.training.preflight import build_model, open_task


class Bare:
    """A training loop without a framework."""

    def __init__(self, config: Config) -> None:
        self.task = open_task(Experiment.of(config))
        torch.manual_seed(0)
        self.model = build_model(Experiment.of(config), self.task)
        self.objective = build(config["objective"])
        self.optimizer = build(config["optimizer"])(self.model)
        self.schedule = build(config["scheduler"])
        self.clip = config["trainer"]["gradient_clip"]
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def block(self, steps: int) -> list[float]:
        starts = []
        self.model.train()
        for step in range(steps + 1):
            starts.append(time.perf_counter())
            loss = self.objective.terms(self.model, self.task.training_batch(step, 0, 1, 0, 1)).loss
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * self.schedule(step, steps + 1)
            self.optimizer.step()
        return [end - start for start, end in pairwise(starts)]


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--experiment", default="shakespeare_cpu")
    parser.add_argument("overrides", nargs="*", help="further overrides of lmlab train")
    options = parser.parse_args()
    with harness.scratch(options.threads) as folder:
        config = harness.composed(
            f"experiment={options.experiment}", f"paths.outputs={Path('outputs').resolve()}", *options.overrides
        )
        arms = {"lmlab": harness.Ours(config, folder).block, "bare loop": Bare(config).block}
        medians = harness.in_turn(arms, options.rounds, options.steps)
    harness.report(f"Overhead of Lightning ({options.experiment})", medians, "lmlab", "bare loop", goal=1.03)


if __name__ == "__main__":
    main()
