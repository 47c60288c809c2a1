"""A step of the 2 x 200 LSTM on WikiText-2 words (batch 20 x 35), here and in PyTorch's example.

    git clone https://github.com/pytorch/examples
    LMLAB_CORPORA=<corpora> python scripts/benchmark/word_language_model.py examples/word_language_model

The peer's network is its own (``model.py`` of the checkout); its loop is reimplemented here after its ``main.py``:
state carried and detached, dense log-probabilities and their negative log-likelihood, clipping at 0.25, SGD at 20.
"""

import time
from itertools import pairwise
from pathlib import Path

import harness
import numpy as np
import torch
from nanogpt import load

from lmlab.config.experiment import Experiment
from lmlab.training.preflight import open_task

BATCH, CONTEXT = 20, 35


class Peer:
    """The example's network and loop."""

    def __init__(self, checkout: Path, tokens: np.ndarray, types: int) -> None:
        torch.manual_seed(0)
        self.network = load(checkout / "model.py").RNNModel("LSTM", types, 200, 200, 2, 0.2, False)
        length = len(tokens) // BATCH
        stripes = torch.from_numpy(tokens[: length * BATCH].astype(np.int64)).view(BATCH, -1)
        self.data = stripes.t().contiguous()
        self.criterion = torch.nn.NLLLoss()

    def block(self, steps: int) -> list[float]:
        self.network.train()
        hidden = self.network.init_hidden(BATCH)
        starts = []
        for step in range(steps + 1):
            starts.append(time.perf_counter())
            first = step * CONTEXT
            data, targets = self.data[first : first + CONTEXT], self.data[first + 1 : first + 1 + CONTEXT].reshape(-1)
            self.network.zero_grad()
            hidden = tuple(part.detach() for part in hidden)
            output, hidden = self.network(data, hidden)
            loss = self.criterion(output, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 0.25)
            for parameter in self.network.parameters():
                parameter.data.add_(parameter.grad, alpha=-20.0)
            loss.item()
        return [end - start for start, end in pairwise(starts)]


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("checkout", type=Path, help="path of the example's folder in a checkout")
    options = parser.parse_args()
    with harness.scratch(options.threads) as folder:
        config = harness.composed("experiment=wikitext2_lstm", f"paths.outputs={Path('outputs').resolve()}")
        corpus = open_task(Experiment.of(config), progress=True).corpus
        peer = Peer(options.checkout, np.asarray(corpus.tokens("train")), corpus.tokenizer.size)
        arms = {"lmlab": harness.Ours(config, folder).block, "the example": peer.block}
        medians = harness.in_turn(arms, options.rounds, options.steps)
    harness.report("A step of the 2 x 200 LSTM on WikiText-2 words", medians, "lmlab", "the example", goal=0.6)


if __name__ == "__main__":
    main()
