"""A layer's declaration of how processes can share its work: tensor parallelism (Shoeybi et al. 2019, section 3)."""

from dataclasses import dataclass

from lmlab.errors import UserError
from lmlab.models.counts import divisors


@dataclass(frozen=True)
class Split:
    """The result of a mixer's or channel mixer's ``split()``.

    With ``None``, or without such a method, every process does all of the work.

    Args:
        units: number of equal, indivisible parts of the work (heads, inner channels).
        what: the option that determines ``units``, for messages.
        outputs: linear layers whose outputs are divided among processes, by name, with the sizes of the blocks that
            the outputs consist of, in order. A process has the same share of every block.
        inputs: linear layers that read these outputs, each process its own share; their results are added up.
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
