"""The head of a model of the transformers library.

Dimension legend: N tokens, D width, V vocabulary.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from lmlab.models.heads.head import Head
from lmlab.models.heads.softmax import Softmax


class _Output(tuple[Tensor]):
    """The input of the library's heads: the first entry, or ``last_hidden_state``; other attributes are ``None``."""

    def __new__(cls, hidden: Tensor) -> "_Output":
        return super().__new__(cls, (hidden,))

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class Hidden(nn.Module):
    """A replacement of all of a model but its head, which returns hidden vectors that were computed before."""

    @property
    def decoder(self) -> nn.Module:
        """Return itself: some heads read ``model.decoder``."""
        return self

    def forward(self, *inputs: Any, inputs_embeds: Tensor, **options: Any) -> Any:
        return _Output(inputs_embeds)


class LibraryHead(Softmax):
    """The head of a model of the library: all operations between the last hidden vectors and the logits.

    If the head is one linear layer, cross-entropy is computed as for our own models.

    Args:
        causal: the model, with :class:`Hidden` in place of all but its head.
        output: its last linear layer.
    """

    def __init__(self, causal: nn.Module, output: nn.Linear, vocabulary: int) -> None:
        Head.__init__(self)
        self.vocabulary = vocabulary
        self.causal = causal
        self._output = next(name for name, module in causal.named_modules() if module is output)
        self.linear_only = True

    @property
    def linear(self) -> nn.Linear:  # type: ignore[override]
        """The last linear layer; not an attribute, because ``functional_call`` needs modules with a single name."""
        return cast(nn.Linear, self.causal.get_submodule(self._output))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        for name in ("weight", "bias"):  # checkpoints of earlier versions have the layer under a second name
            state_dict.pop(f"{prefix}linear.{name}", None)
        super()._load_from_state_dict(state_dict, prefix, *options)

    def logits(self, hidden: Tensor) -> Tensor:
        logits = self.causal(inputs_embeds=hidden.reshape(1, -1, hidden.shape[-1]), use_cache=False).logits
        return logits.view(*hidden.shape[:-1], -1)

    def is_linear(self, hidden: Tensor) -> bool:
        """Return whether the logits are the output of the last linear layer, unchanged."""
        if hidden.shape[-1] != self.linear.in_features:
            return False
        return torch.allclose(self.logits(hidden), self.linear(hidden), rtol=1e-5, atol=1e-6)

    def log_probs(self, hidden: Tensor) -> Tensor:
        logits = self.linear(hidden) if self.linear_only else self.logits(hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)

    def cross_entropy(self, hidden_ND: Tensor, targets_N: Tensor, label_smoothing: float = 0.0) -> Tensor:
        of = Softmax if self.linear_only else Head
        return of.cross_entropy(self, hidden_ND, targets_N, label_smoothing)
