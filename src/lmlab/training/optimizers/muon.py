"""Muon for the hidden matrices (Jordan et al. 2024, "Muon: an optimizer for hidden layers"), AdamW for everything else.

For a matrix W [m, n] with gradient G, momentum mu, learning rate lr and decay w, a step is

    M <- mu M + (1 - mu) G
    U <- orthogonalise((1 - mu) G + mu M)                      (Nesterov momentum)
    W <- (1 - lr w) W - lr 0.2 sqrt(max(m, n)) U               (Liu et al. 2025, "Muon is scalable", equation 4)

The factor gives the update the root mean square that AdamW's usually has, about 0.2, for any shape, so that
learning rates are of AdamW's magnitude. (Jordan's own factor is sqrt(max(1, m / n)).)

Dimension legend: N matrices of one shape, R their shorter side, C their longer side.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as adamw_update

from lmlab.errors import UserError, check_least
from lmlab.training.optimizers.groups import check_betas, decay_groups, fused

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of a x + b x^3 + c x^5, which after five applications takes every x in [0.01, 1] to about [0.7, 1.2]."""


def muon(
    model: nn.Module,
    lr: float,
    adamw_lr: float,
    betas: list[float],
    momentum: float = 0.95,
    iterations: int = 5,
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> torch.optim.Optimizer:
    """Return Muon for the hidden matrices of ``model`` and AdamW for its embeddings, head and vectors.

    A weight that holds several matrices on top of each other is orthogonalised block by block where its layer lists
    their rows as ``row_blocks``, else whole. (On tiny Shakespeare, with 0.8 million parameters and 200 steps, queries,
    keys and values one by one ended 0.02 to 0.03 nats lower than as one matrix, the two halves of SwiGLU's no
    different, and the gates of an LSTM 0.04 higher, each at one learning rate and with one or two seeds.)

    Args:
        lr: learning rate of the hidden matrices.
        adamw_lr: learning rate of everything else.
        betas: betas of AdamW.
        momentum: momentum of Muon.
        iterations: iterations of Newton-Schulz.
        eps: epsilon of AdamW.
        weight_decay: decoupled decay of all matrices, embeddings among them, times their learning rate.

    Raises:
        UserError: a setting out of its range.
    """
    check_least(0, "optimizer.", lr=lr, adamw_lr=adamw_lr, eps=eps, weight_decay=weight_decay)
    if not 0 <= momentum < 1:
        raise UserError(f"optimizer.momentum={momentum}: expected a number in [0, 1)")
    check_least(1, "optimizer.", iterations=iterations)
    of_muon = {id(parameter) for parameter in hidden_matrices(model)}
    settings_muon = {"muon": True, "lr": lr, "momentum": momentum, "iterations": iterations}
    settings_adamw = {"muon": False, "lr": adamw_lr, "betas": check_betas(betas), "eps": eps, "fused": fused(model)}
    groups: list[dict[str, Any]] = []
    for group in decay_groups(model, weight_decay):
        for settings, uses_muon in ((settings_muon, True), (settings_adamw, False)):
            parameters = [parameter for parameter in group["params"] if (id(parameter) in of_muon) is uses_muon]
            if parameters:
                groups.append({**group, **settings, "params": parameters})
    return Muon(groups, row_blocks(model))


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the matrices that map hidden vectors to hidden vectors: without embeddings and ``model.head``."""
    outside = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    if isinstance(head := getattr(model, "head", None), nn.Module):
        outside |= {id(parameter) for parameter in head.parameters()}
    return [p for p in model.parameters() if p.requires_grad and p.ndim == 2 and id(p) not in outside]


def row_blocks(model: nn.Module) -> dict[Tensor, list[int]]:
    """Return the rows of the matrices that a weight consists of, for linear layers that list them as ``row_blocks``."""
    rows = {
        module.weight: getattr(module, "row_blocks", []) for module in model.modules() if isinstance(module, nn.Linear)
    }
    return {weight: blocks for weight, blocks in rows.items() if blocks}


class Muon(torch.optim.Optimizer):
    """Both algorithms in one optimizer: each parameter group has the choice (``muon``) and its settings.

    Muon groups: ``lr``, ``momentum``, ``iterations``, ``weight_decay``. AdamW groups: ``lr``, ``betas``, ``eps``,
    ``weight_decay``, ``fused``.
    """

    def __init__(self, groups: list[dict[str, Any]], row_blocks: dict[Tensor, list[int]]) -> None:
        super().__init__(groups, {})
        self.row_blocks = row_blocks

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient; return what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            (self._muon if group["muon"] else self._adamw)(group, parameters)
        return loss

    def _muon(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        by_shape: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        gathered: list[tuple[Tensor, Tensor]] = []
        for parameter in parameters:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            rows = self.row_blocks.get(parameter, [parameter.shape[0]])
            whole, direction = _whole(parameter), _whole(self._nesterov(parameter, group["momentum"]))
            for block, part in zip(whole.split(rows), direction.split(rows), strict=True):
                by_shape[(*sorted(block.shape), block.dtype, block.device)].append((_wide(block), _wide(part)))
            if whole is not parameter:
                gathered.append((parameter, whole))
        for pairs in by_shape.values():
            updates_NRC = orthogonalise(torch.stack([direction for _, direction in pairs]), group["iterations"])
            scale = 0.2 * math.sqrt(updates_NRC.shape[2])
            for (block_RC, _), update_RC in zip(pairs, updates_NRC, strict=True):
                block_RC.add_(update_RC, alpha=-group["lr"] * scale)
        for parameter, whole in gathered:
            parameter.copy_(_shards_of(whole, parameter))

    def _nesterov(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum)

    def _adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        adamw_update(
            parameters,
            [parameter.grad for parameter in parameters],  # type: ignore[misc]
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalise(x_NRC: Tensor, iterations: int = 5) -> Tensor:
    """Return matrices [N, R, C], R <= C, with the singular vectors of ``x_NRC`` and singular values near 1.

    Newton-Schulz iteration of the quintic, on all matrices at once. In bfloat16 where that is fast, else in float32.

    An iteration is Y <- Z Y with Z = a I + b G + c G^2 and G = Y Y^T. Long matrices are multiplied by the product of
    all Z, which only needs G <- Z G Z: half the operations where C = 4 R. Rounding of G may give a singular
    value of zero the wrong sign, which stays below 0.1 for up to five iterations and would grow with more.
    """
    a, b, c = QUINTIC
    y_NRC = x_NRC.to(torch.bfloat16 if has_fast_bfloat16(x_NRC.device) else torch.float32)
    y_NRC = y_NRC / y_NRC.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    _, R, C = y_NRC.shape
    if C >= 2 * R and iterations <= 5 and y_NRC.dtype == torch.float32:
        return (_product_of_factors(y_NRC @ y_NRC.mT, iterations) @ y_NRC).to(x_NRC.dtype)
    for _ in range(iterations):
        gram_NRR = y_NRC @ y_NRC.mT
        factor_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        y_NRC = torch.baddbmm(y_NRC, factor_NRR, y_NRC, beta=a)
    return y_NRC.to(x_NRC.dtype)


def _product_of_factors(gram_NRR: Tensor, iterations: int) -> Tensor:
    """Return the product of the matrices Z of all iterations, from the G of the first."""
    a, b, c = QUINTIC
    product_NRR = None
    for left in reversed(range(iterations)):
        factor_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        factor_NRR.diagonal(dim1=1, dim2=2).add_(a)
        product_NRR = factor_NRR if product_NRR is None else factor_NRR @ product_NRR
        if left:
            gram_NRR = factor_NRR @ gram_NRR @ factor_NRR
    assert product_NRR is not None
    return product_NRR


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware; elsewhere that is far slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _wide(matrix: Tensor) -> Tensor:
    """Return the matrix, or its transpose if it has more rows than columns."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def _whole(tensor: Tensor) -> Tensor:
    """Return the whole tensor, gathered from its shards: the update needs a whole matrix."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _shards_of(whole: Tensor, like: Any) -> Tensor:
    """Return this process's shard of ``whole``, which every process has."""
    from torch.distributed.tensor import DTensor, Replicate

    everywhere = [Replicate()] * like.device_mesh.ndim
    return DTensor.from_local(whole, like.device_mesh, everywhere).redistribute(placements=like.placements)
