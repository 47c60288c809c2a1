"""How a layer says that several processes can share its work: tensor parallelism (Shoeybi et al. 2019, section 3)."""

from dataclasses import dataclass

from lmlab.errors import UserError
from lmlab.models.counts import divisors


@dataclass(frozen=True)
class Split:
    """What a mixer's or channel mixer's ``split()`` returns; ``None``, or no such method: every process does all of it.

    Args:
        units: how many equal parts the work falls into that cannot be cut further (heads, inner channels).
        what: the option that says so, for messages.
        outputs: linear layers of which each process computes a share of the outputs: for each name the sizes of the
            blocks that its outputs consist of, in order. A process has the same share of every block.
        inputs: linear layers that read the outputs of those, each process its own share; their outputs are added up.
        state: a process carries the state of its own share only.
    """

    units: int
    what: str
    outputs: dict[str, list[int]]
    inputs: list[str]
    state: bool = False

    def check(self, ranks: int) -> None:
        """Refuse a number of processes that does not divide the work. Raises ``UserError``."""
        if self.units % ranks:
            near = max(count for count in divisors(self.units) if count <= ranks)
            raise UserError(
                f"trainer.tensor_parallel={ranks}: must divide {self.what}, here {self.units} "
                f"(nearest that does: {near})"
            )
