"""A step of the public CPU recipe for tiny Shakespeare, here and in nanoGPT.

    git clone https://github.com/karpathy/nanoGPT
    LMLAB_CORPORA=<corpora> python scripts/benchmark/nanogpt.py nanoGPT

The peer's network and optimizer are its own (``model.py`` of the checkout); its loop is reimplemented here after its
``train.py`` for this recipe: random windows, no compilation, clipping at 1, the loss read at every step.
"""

import importlib.util
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import harness
import numpy as np
import torch

from lmlab.config.experiment import Experiment
from lmlab.training.preflight import open_task

BATCH, CONTEXT = 12, 64


def load(path: Path) -> ModuleType:
    """Import a file of a checkout under its own name."""
    spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        sys.exit(f"{path}: no such file; give the path of a checkout")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Peer:
    """nanoGPT's network, optimizer and loop."""

    def __init__(self, checkout: Path, tokens: np.ndarray, types: int) -> None:
        model = load(checkout / "model.py")
        torch.manual_seed(0)
        sizes = {"n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.0, "bias": False}
        self.network = model.GPT(model.GPTConfig(block_size=CONTEXT, vocab_size=types, **sizes))
        self.optimizer = self.network.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
        self.tokens = tokens.astype(np.uint16)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(len(self.tokens) - CONTEXT, (BATCH,))
        windows = np.stack([self.tokens[int(start) : int(start) + CONTEXT + 1] for start in starts]).astype(np.int64)
        return torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, 1:].copy())

    def block(self, steps: int) -> list[float]:
        self.network.train()
        starts, (x, y) = [], self.batch()
        for _ in range(steps + 1):
            starts.append(time.perf_counter())
            _, loss = self.network(x, y)
            x, y = self.batch()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loss.item()
        return [end - start for start, end in pairwise(starts)]


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("checkout", type=Path, help="path of a nanoGPT checkout")
    options = parser.parse_args()
    with harness.scratch(options.threads) as folder:
        config = harness.composed("experiment=shakespeare_cpu", f"paths.outputs={Path('outputs').resolve()}")
        corpus = open_task(Experiment.of(config), progress=True).corpus
        peer = Peer(options.checkout, np.asarray(corpus.tokens("train")), corpus.tokenizer.size)
        arms = {"lmlab": harness.Ours(config, folder).block, "nanoGPT": peer.block}
        medians = harness.in_turn(arms, options.rounds, options.steps)
    harness.report("A step of the tiny-Shakespeare CPU recipe", medians, "lmlab", "nanoGPT", goal=0.9)


if __name__ == "__main__":
    main()
