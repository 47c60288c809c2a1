"""Parameter counts of a model, in three senses, and the check against a requested size."""

from torch import nn

from lmlab.errors import UserError
from lmlab.numerals import amount

TOLERANCE = 0.01
"""Tolerance of a requested size, as a share of it, unless ``model.parameters_within`` gives one."""


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Return the number of parameters, counted in three ways.

    - ``total``: all of them, tied matrices once;
    - ``non_embedding``: without token and position embeddings (Kaplan et al. 2020, section 2.1); a head's own matrix
      counts, a tied one does not;
    - ``matmul``: entries of the matrices that a token is multiplied by, the head's (tied or not) among them.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    lookups = sum(p.numel() for p in model.parameters() if id(p) in embeddings)
    total = sum(p.numel() for p in model.parameters())
    matmul = sum(p.numel() for p in model.parameters() if p.ndim >= 2 and id(p) not in embeddings)
    tied = {id(p): p.numel() for p in model.head.parameters() if id(p) in embeddings}  # type: ignore[operator, union-attr]
    return {"total": total, "non_embedding": total - lookups, "matmul": matmul + sum(tied.values())}


def number_of_parameters(target: int | str) -> int:
    """Read a size like 10M, 1.5B, 300k or a whole number. Raises ``UserError`` for anything else."""
    size = amount(str(target))
    if not size:
        raise UserError(f"model.parameters={target}: expected a number of parameters, like 10M, 1.5B or 300_000")
    return size


def tolerance(within: float | None) -> float:
    """Return the largest relative deviation of a size: ``model.parameters_within``, or ``TOLERANCE``.

    Raises:
        UserError: ``within`` is not between 0 and 1.
    """
    if within is not None and not 0 < within < 1:
        raise UserError(f"model.parameters_within={within}: expected a share between 0 and 1, like 0.03 for 3 %")
    return TOLERANCE if within is None else within


def check_size(model: nn.Module, target: int | str, kind: str, within: float | None = None) -> None:
    """Refuse a model that misses a size. Raises ``UserError``."""
    size, count, share = number_of_parameters(target), parameter_counts(model)[kind], tolerance(within)
    if abs(count - size) > share * size:
        raise UserError(f"model.parameters={target}: the model has {count:,} ({kind}), more than {share * 100:g} % off")
