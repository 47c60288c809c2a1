"""Memory of a micro-batch, in any precision, with and without activation checkpointing, by simulation.

A network on the meta device reads one and two sequences, and the tensors that autograd saves are measured. Equal blocks
are read once, so that a network of a hundred blocks takes no longer than one of two.
"""

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lmlab.models.anatomy import signature
from lmlab.models.language_model import LanguageModel
from lmlab.planning.memory import Autocast, LiveBytes, at_length, saved_by

COMPUTES_IN = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
    "bf16-true": torch.bfloat16,
}
"""The type of matrix products for each ``trainer.precision``."""


@dataclass(frozen=True)
class Block:
    """A kind of equal blocks.

    Args:
        times: number of blocks.
        parameters: parameters of each block.
        first, further: bytes that each block keeps for the first sequence of a micro-batch, and for each further one.
        carries: numbers in the output of a block, for one sequence.
        carried_bytes: the output in bytes, which activation checkpointing keeps.
    """

    times: int
    parameters: int
    first: int
    further: int
    carries: int
    carried_bytes: int

    def kept(self, rows: int) -> int:
        """Return the bytes that one block keeps for a micro-batch of ``rows`` sequences."""
        return self.first + (rows - 1) * self.further


@dataclass(frozen=True)
class Footprint:
    """The memory of a network and its micro-batches.

    Args:
        parameters: parameters of the network.
        trained: parameters with gradients.
        bytes_each: bytes of a weight.
        copies: bytes of the weights' copies in lower precision that autocast makes and autograd keeps.
        blocks: kinds of blocks; empty if the network does not declare its blocks.
        first, further: bytes kept outside of blocks and the head, as in ``Block``.
    """

    parameters: int
    trained: int
    bytes_each: int
    copies: int
    blocks: tuple[Block, ...]
    first: int
    further: int

    @property
    def outside(self) -> int:
        """Return the number of parameters outside of blocks."""
        return self.parameters - sum(block.times * block.parameters for block in self.blocks)

    @property
    def largest(self) -> int:
        """Return the number of parameters of the largest block; without blocks, of the network."""
        return max((block.parameters for block in self.blocks), default=self.parameters)

    def activations(self, rows: int, checkpointing: bool = False) -> int:
        """Return the bytes that a micro-batch of ``rows`` sequences keeps for the backward pass, without the head's.

        With checkpointing, a block keeps its input only. The backward pass recomputes the rest block by block, so the
        activations of the largest block are added (Chen et al. 2016, section 4).
        """
        kept = self.first + (rows - 1) * self.further
        if not checkpointing:
            return kept + sum(block.times * block.kept(rows) for block in self.blocks)
        inputs = sum(block.times * block.carried_bytes for block in self.blocks) * rows
        return kept + inputs + max((block.kept(rows) for block in self.blocks), default=0)


def footprint(model: LanguageModel, context: int, precision: str) -> Footprint:
    """Return the memory of ``model`` in training on sequences of ``context`` tokens.

    Args:
        model: on the meta device; ``bf16-true`` turns it to bfloat16 in place.
        precision: a ``trainer.precision``.
    """
    if precision.endswith("true"):
        model.to(COMPUTES_IN[precision])
    kinds: dict[Any, list[nn.Module]] = {}
    for block in getattr(model, "blocks", ()):
        kinds.setdefault(signature(block), []).append(block)
    reader = _Reader(model, precision)
    blocks: list[Block] = []
    try:
        outside = None if kinds else reader.of_micro_batch([], context)
        for members in kinds.values():
            one, two = (reader.of_micro_batch(members[:1] * number, context) for number in (1, 2))
            # The memory that a second block adds is that of each block.
            first, further = two[0] - one[0], two[1] - one[1]
            carried = reader.entered[0]
            numbers = carried.shape[0] * carried.shape[2] * context
            blocks.append(
                Block(
                    len(members), _count(members[0].parameters()), first, further, numbers, numbers * carried.itemsize
                )
            )
            outside = outside or (one[0] - first, one[1] - further)
    finally:
        reader.restore()
    assert outside is not None
    times = {id(weight): len(members) for members in kinds.values() for weight in members[0].parameters()}
    return Footprint(
        parameters=_count(model.parameters()),
        trained=_count(parameter for parameter in model.parameters() if parameter.requires_grad),
        bytes_each=next(model.parameters()).element_size(),
        copies=sum(size * times.get(key, 1) for key, size in reader.copied.items()),
        blocks=tuple(blocks),
        first=outside[0],
        further=outside[1],
    )


class _Reader:
    """Runs a network with replaced blocks on micro-batches, and measures the tensors that autograd saves."""

    def __init__(self, model: LanguageModel, precision: str) -> None:
        self.model = model
        self.precision = precision
        self.blocks = getattr(model, "blocks", None)
        self.entered: list[Tensor] = []
        """The input of the blocks in the latest micro-batch."""
        self.copied: dict[int, int] = {}
        """Bytes of the low-precision copies that autocast made, by the id of the weight."""
        self._copies: dict[int, Tensor] = {}

    def restore(self) -> None:
        if self.blocks is not None:
            self.model.blocks = self.blocks

    def of_micro_batch(self, blocks: list[nn.Module], context: int) -> tuple[int, int]:
        """Return the bytes kept for a first sequence of ``context`` tokens and each further one, with ``blocks``."""
        if blocks:
            self.model.blocks = nn.ModuleList(blocks)
        one, two = (at_length(partial(self._saved, rows), context) for rows in (1, 2))
        return one, two - one

    def _saved(self, rows: int, context: int) -> tuple[int, int]:
        """Return the bytes saved for ``rows`` sequences, without weights and their copies, and how many tensors."""
        self.entered = []
        hooks = [
            block.register_forward_pre_hook(lambda _, inputs: self.entered.append(inputs[0][:1]))
            for block in dict.fromkeys(self.model.blocks)
        ]
        dtype = COMPUTES_IN[self.precision]
        tokens_BT = torch.zeros(rows, context, dtype=torch.int64, device="meta")

        def forward() -> None:
            with ExitStack() as stack:
                if self.precision.endswith("mixed"):
                    stack.enter_context(Autocast(dtype, self._copy))
                    # No effect on the meta device, but layers can query whether autocast is enabled.
                    stack.enter_context(torch.autocast("cpu", dtype))
                self.model(tokens_BT)

        saved = saved_by(forward, self.model, self._copies.values())
        for hook in hooks:
            hook.remove()
        self._copies.clear()
        return saved

    def _copy(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the copy of a weight: one for a whole forward pass, as in autocast's cache."""
        if id(weight) not in self._copies:
            self._copies[id(weight)] = weight.to(dtype)
            self.copied[id(weight)] = weight.numel() * dtype.itemsize
        return self._copies[id(weight)]


def head_bytes(model: LanguageModel, tokens: int, precision: str) -> int:
    """Return the peak bytes of the head and the cross-entropy of ``tokens`` tokens in the forward pass."""
    dtype = COMPUTES_IN[precision]
    head = copy.deepcopy(model.head).to("meta", dtype).train()

    def most(number: int) -> int:
        hidden_ND = torch.empty(number, model.embedding.weight.shape[1], dtype=dtype, device="meta", requires_grad=True)
        with LiveBytes() as live:
            head.cross_entropy(hidden_ND, torch.zeros(number, dtype=torch.int64, device="meta"))
        return live.most

    few, many = 4 * head.chunk, 8 * head.chunk
    if tokens <= many:
        return most(tokens)
    # Chunks are of equal size: every further one adds the same.
    return round(most(few) + (tokens - few) / (many - few) * (most(many) - most(few)))


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in {id(tensor): tensor for tensor in tensors}.values())
