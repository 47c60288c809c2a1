"""Any causal language model of the transformers library, as one function with state.

Dimension legend: B sequences, T tokens of each, N tokens, D width, V vocabulary.
"""

import inspect
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models import hugging_face_cache as library_cache
from lmlab.models import state as model_state
from lmlab.models.heads.head import Head
from lmlab.models.heads.softmax import Softmax
from lmlab.models.hugging_face_cache import LayerSize
from lmlab.models.hugging_face_config import EXPERTS, causal_model, configuration, first_line, last_position, number
from lmlab.models.layers import check_count, check_width
from lmlab.models.parameters import check_size
from lmlab.models.state import LanguageModelState, Output
from lmlab.surroundings import expanded


class HuggingFace(nn.Module):
    """``hidden_BTD, state, _ = model(tokens_BT, state)`` of a model that ``AutoModelForCausalLM`` builds.

    Weights are initialised by the library. The constructor tests the model: it refuses a model that reads a sequence in
    pieces differently than at once, or whose cache is not the library's ``DynamicCache``. A model that is correct token
    by token only is read token by token once it carries a state.

    Args:
        vocabulary: V, types of the tokenizer; supplied by the data.
        context: longest sequence in training; supplied by the data. Positions end there where the model has a table of
            them, unless ``config`` says otherwise.
        architecture: the library's ``model_type``.
        width: D; inner widths, unless ``config`` gives them, keep the proportion that they have by default.
        depth: number of blocks.
        heads: attention heads, of queries as well as keys and values.
        dropout: probability of all dropouts of the architecture.
        config: fields of the architecture's configuration; they override the arguments above.
        path: a folder that the library's ``save_pretrained`` wrote, read instead: its weights, and its configuration in
            place of architecture, width, depth, heads and dropout.

    Raises:
        UserError: the library is missing, or cannot build this, or the architecture does not fit the contract.
    """

    # Parts of ``LanguageModel`` that the library keeps to itself.
    blocks: tuple[nn.Module, ...] = ()
    position_embedding = ngrams = None

    def __init__(
        self,
        vocabulary: int,
        context: int,
        *,
        architecture: str = "gpt2",
        width: int | None = 128,
        depth: int | None = 4,
        heads: int | None = 4,
        dropout: float = 0.0,
        config: dict[str, Any] | None = None,
        path: str | None = None,
        parameters: int | str | None = None,
        parameters_of: Literal["total", "non_embedding", "matmul"] = "total",
        parameters_within: float | None = None,
        solved_from: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if find_spec("transformers") is None:
            raise UserError("model=hf: needs the package transformers (pip install 'lmlab[hf]')")
        check_width("model.width", width or 0)
        check_count("model.depth", depth or 0)
        sizes = {"width": width, "depth": depth, "heads": heads}
        path = path and str(expanded(path))
        self.config = configuration(architecture, path, vocabulary, context, sizes, dropout, config or {})
        self.name = f"model.path={path}" if path else f"model.architecture={architecture}"
        self.max_positions = last_position(self.config, self.name)
        if self.max_positions is not None and context > self.max_positions:
            raise UserError(f"batch.context={context}: the positions of {self.name} end at {self.max_positions}")
        causal = causal_model(self.config, path, self.name)
        self.network = causal.base_model
        if self.network is causal:
            raise UserError(f"{self.name}: the library does not separate its head from the rest of the model")
        output = causal.get_output_embeddings()
        if not isinstance(output, nn.Linear):
            raise UserError(f"{self.name}: its head has no output matrix for {vocabulary} types")
        accepted = inspect.signature(self.network.forward).parameters
        names = [name for name in ("cache", "past_key_values", "cache_params") if name in accepted]
        if not names:
            raise UserError(f"{self.name}: it returns no cache")
        self._cache_name, self._takes_positions = names[0], "position_ids" in accepted
        setattr(causal, causal.base_model_prefix, Hidden())
        self.head = LibraryHead(causal, output, vocabulary)
        self._steps = False
        self._try()
        if parameters is not None:
            check_size(self, parameters, parameters_of, parameters_within)

    @property
    def embedding(self) -> nn.Module:
        """The module that turns tokens into vectors."""
        return self.network.get_input_embeddings()

    def forward(self, tokens_BT: Tensor, state: LanguageModelState | None = None) -> Output:
        """Read tokens [B, T] int64 after those that ``state`` stands for (``None``: none).

        All sequences of a batch have read the same number of tokens. With a state, the caller must not exceed
        the positions of a table (see ``max_positions``). Losses that balance experts are not read from the
        library.

        Raises:
            UserError: more tokens without a state than the model has positions.
        """
        length = tokens_BT.shape[1]
        if state is None and self.max_positions is not None and length > self.max_positions:
            raise UserError(f"a sequence of {length} tokens: the positions of this model end at {self.max_positions}")
        if self._steps and state is not None and length > 1:
            parts = []
            for token_B1 in tokens_BT.split(1, 1):
                part_B1D, state, _ = self._read(token_B1, state)
                parts.append(part_B1D)
            return Output(torch.cat(parts, 1), state)
        return self._read(tokens_BT, state)

    def _read(self, tokens_BT: Tensor, state: LanguageModelState | None, cache: Any = None) -> Output:
        B, T = tokens_BT.shape
        position_B = tokens_BT.new_zeros(B) if state is None else state.position
        if cache is None:
            cache = self._new_cache() if state is None else library_cache.from_state(self._example, state)
        inputs: dict[str, Any] = {"input_ids": tokens_BT, "use_cache": True, "return_dict": True}
        inputs[self._cache_name] = library_cache.keep_gradients(cache)
        if self._takes_positions:
            inputs["position_ids"] = position_B[:, None] + torch.arange(T, device=tokens_BT.device)
        written = T == 1 and state is not None and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        with library_cache.saving_copies(cache) if written else nullcontext():
            hidden_BTD = self.network(**inputs).last_hidden_state
        return Output(hidden_BTD, LanguageModelState(position_B + T, library_cache.to_state(cache)))

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    @torch.no_grad()
    def _try(self) -> None:
        """Determine the parts of the state and test the contract. Raises ``UserError`` if the model breaks it."""
        training, meta = self.training, self.head.linear.weight.is_meta
        self.eval()
        device = self.head.linear.weight.device
        length = min(5, self.max_positions or 5)
        tokens_BT = torch.arange(2 * length, device=device).view(2, length) % self.head.vocabulary
        try:
            hidden_BTD = self._read(tokens_BT, None).hidden
            self._example = self._new_cache()
            first = self._read(tokens_BT[:, :1], None, self._example).state
            if not meta:
                self.head.linear_only = self.head.is_linear(hidden_BTD)
            carried = model_state.tensors(first.blocks)
            fits = all(tensor.shape[:1] == (2,) for tensor in carried) and len(carried) > 0
        except Exception as error:
            raise UserError(f"{self.name}: a first sequence cannot be read ({first_line(error)})") from error
        if not fits:
            raise UserError(f"{self.name}: its state is not in the library's DynamicCache")
        self._layers = [
            LayerSize(state, library_cache.window(layer))
            for state, layer in zip(first.blocks, self._new_cache().layers, strict=True)
        ]
        if not meta:
            self._steps = any(hasattr(layer, "recurrent_states") for layer in self._new_cache().layers)
            if self._steps:
                # From a state of ones: with new weights, that of a few tokens may hardly matter.
                ones = model_state.map_tensors(torch.ones_like, first.blocks)
                self._steps = not self._agrees(tokens_BT, first._replace(blocks=ones))
            if not self._counts_from_zero(tokens_BT, hidden_BTD):
                raise UserError(f"{self.name}: its positions do not count from 0, or a cache changes its result")
            if not self._agrees(tokens_BT, None):
                raise UserError(
                    f"{self.name}: reading a sequence in pieces is not the same as reading it at once; "
                    "its tokens see later ones, or its state is not all in the library's cache"
                )
        self.train(training)

    def _agrees(self, tokens_BT: Tensor, state: LanguageModelState | None) -> bool:
        """Return whether reading in pieces equals reading at once; it does not if a token depends on a later one."""
        try:
            hidden_BTD = self._read(tokens_BT, state).hidden
            parts = []
            for piece in tokens_BT.split([2, 1, 2] if state is None and tokens_BT.shape[1] == 5 else 1, 1):
                part, state, _ = self(piece, state)
                parts.append(part)
                self._read(tokens_BT.flip(1), None)  # a state that is kept elsewhere than in the cache is lost
        except Exception:
            return False
        return _close(torch.cat(parts, 1), hidden_BTD)

    def _counts_from_zero(self, tokens_BT: Tensor, hidden_BTD: Tensor) -> bool:
        """Return whether the library gives the same result without a cache and with positions of its own choice."""
        try:
            own = self.network(input_ids=tokens_BT, use_cache=False, return_dict=True)
        except Exception:
            return False
        return _close(hidden_BTD, own.last_hidden_state)

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence after ``context`` tokens."""
        return sum(layer.constant + layer.per_token * layer.kept(context) for layer in self._layers)

    def mixer_states(self, state: LanguageModelState) -> tuple[Any, ...]:
        """Return the states of the library's layers."""
        return state.blocks

    def extra_flops(self, context: int) -> int:
        """Count operations of attention with ``context`` keys, less those of experts that are not chosen.

        Operations of state-space layers and linear attention beyond their projections are not counted.
        """
        heads = number(self.config, "num_attention_heads")
        attention = sum(2 * layer.kept(context) * heads * layer.head_widths for layer in self._layers)
        experts = next((count for name in EXPERTS if (count := number(self.config, name))), 0)
        active = number(self.config, "num_experts_per_tok") or experts
        idle = sum(p.numel() for p in self.network.parameters() if experts and p.ndim == 3 and p.shape[0] == experts)
        return attention - (2 * idle * (experts - active) // experts if experts else 0)


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-3 * other.abs().max())


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
