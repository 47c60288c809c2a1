"""A sparsely gated mixture of experts: each token is read by the few perceptrons that a router chooses for it.

Dimension legend: B sequences, T tokens of a sequence, N tokens, D width, E experts, K experts active for a token.

With router scores s = R x, and C(x) the K experts that score highest (Shazeer et al. 2017, equations 1 and 3, without
noise; weights as in Jiang et al. 2024, section 2.1):
    y = sum_{e in C(x)} w_e SwiGLU_e(x),    w = softmax of (s_e for e in C(x)).

Experts have no capacity limit: the output of a token does not depend on the other tokens, so reading one by one equals
reading at once. A loss balances the load of the experts (Fedus et al. 2022, equations 4 to 6, for K = 1). It is
computed within each sequence of T tokens (DeepSeek-AI 2024, DeepSeek-V3, equations 17 to 20), so it does not depend on
the division of a batch:
    balance E sum_e f_e P_e,    f_e = share of T K choices that fell on e,    P_e = mean over tokens of softmax(s)_e;
averaged over sequences, it is ``balance`` when all experts are equally likely, and at most ``balance`` E.

A token costs 2 D E operations for the router and 6 ratio D^2 for each active expert. There is no state.
"""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lmlab.errors import UserError
from lmlab.models.channels.channel import Channel
from lmlab.models.channels.swiglu import SwiGLU
from lmlab.models.layers import Linear, check_count


class MixtureOfExperts(Channel):
    """Top-K routing over SwiGLU experts, without dropped tokens.

    Args:
        experts: E.
        active: K, experts that read a token.
        ratio: inner width of an expert over outer width; two experts of 4/3 cost as much as one ``SwiGLU`` of 8/3.
        multiple: the inner width is rounded to a multiple of it.
        balance: weight of the load-balancing loss.

    Raises:
        UserError: there are fewer experts than active ones, or a size or weight is out of its range.
    """

    def __init__(
        self,
        width: int,
        experts: int = 8,
        active: int = 2,
        ratio: float = 4 / 3,
        multiple: int = 8,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        if experts < 1:
            raise UserError(f"model.channel.experts={experts}: expected at least 1 (nearest: 1)")
        check_count("model.channel.experts", experts)
        if not 1 <= active <= experts:
            near = min(max(active, 1), experts)
            raise UserError(
                f"model.channel.active={active}: expected 1 to model.channel.experts={experts} (nearest: {near})"
            )
        if balance < 0:
            raise UserError(f"model.channel.balance={balance}: expected at least 0 (nearest: 0)")
        self.active, self.balance = active, balance
        self.router = Linear(width, experts, bias=False, keeps_initialisation=True)
        # Fedus et al. 2022, section 2.4: a tenth of the usual variance, so that routing is nearly uniform at first.
        std = math.sqrt(0.1 / width)
        nn.init.trunc_normal_(self.router.weight, std=std, a=-2 * std, b=2 * std)
        self.experts = nn.ModuleList(SwiGLU(width, ratio, multiple) for _ in range(experts))

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x_ND = x_BTD.flatten(0, -2)
        scores_NE = self._scores(x_ND)
        best_NK, experts_NK = scores_NE.topk(self.active, dim=1)
        weights_NK = best_NK.softmax(1)
        y_NKD = self._read(x_ND, experts_NK)
        auxiliary = {}
        if self.training and self.balance:
            rows = (-1, x_BTD.shape[-2])
            auxiliary["load_balance"] = self._imbalance(scores_NE.unflatten(0, rows), experts_NK.unflatten(0, rows))
        return (y_NKD * weights_NK[:, :, None]).sum(1).to(x_BTD.dtype).view_as(x_BTD), auxiliary

    @torch.compiler.disable  # how many tokens an expert reads is another shape at every step
    def _read(self, x_ND: Tensor, experts_NK: Tensor) -> Tensor:
        """Return the outputs of the chosen experts for each token [N, K, D].

        Tokens are repeated K times and sorted by expert, so each expert reads one contiguous slice. An expert without
        tokens reads an empty slice, so that every parameter has a gradient in every process.
        """
        order = experts_NK.flatten().argsort(stable=True)
        read = x_ND.repeat_interleave(self.active, 0)[order].split(self._shares(experts_NK))
        done = torch.cat([expert(part) for expert, part in zip(self.experts, read, strict=True)])
        return done[order.argsort()].unflatten(0, experts_NK.shape)

    def _scores(self, x_ND: Tensor) -> Tensor:
        """Score in float32 even under autocast (Fedus et al. 2022, section 2.4): rounding makes ties."""
        wide = torch.promote_types(x_ND.dtype, torch.float32)
        with nullcontext() if x_ND.is_meta else torch.autocast(x_ND.device.type, enabled=False):
            return x_ND.to(wide) @ self.router.weight.to(wide).T

    def _shares(self, experts_NK: Tensor) -> list[int]:
        """Return how many rows each expert reads; equal numbers on the meta device, where choices have no values."""
        E = len(self.experts)
        if experts_NK.is_meta:
            return [(experts_NK.numel() + expert) // E for expert in range(E)]
        return torch.bincount(experts_NK.flatten(), minlength=E).tolist()

    def _imbalance(self, scores_BTE: Tensor, experts_BTK: Tensor) -> Tensor:
        E = len(self.experts)
        share_BE = one_hot(experts_BTK.flatten(1), E).to(scores_BTE.dtype).mean(1)
        return self.balance * E * (share_BE * scores_BTE.softmax(-1).mean(1)).sum(1).mean()

    def extra_flops(self, context: int) -> int:
        """Count operations of idle experts as a negative number: all matrix parameters are counted elsewhere."""
        of_one = sum(parameter.numel() for parameter in self.experts[0].parameters())
        return -2 * (len(self.experts) - self.active) * of_one
