"""Configurations of the transformers library from the few sizes that all architectures have in common."""

import copy
import math
from pathlib import Path
from typing import Any

import torch

from lmlab.errors import UserError, nearest
from lmlab.models.sizes import without_memory

INNER = ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "d_inner", "ffn_hidden_size")
"""Endings of the names of inner widths."""

TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


def configuration(
    architecture: str,
    path: str | None,
    vocabulary: int,
    context: int,
    sizes: dict[str, int | None],
    dropout: float,
    config: dict[str, Any],
) -> Any:
    """Return the library's configuration of a model.

    Args:
        sizes: width, depth and heads.
        config: fields of the configuration; they override everything else.

    Raises:
        UserError: an architecture or a field that the library does not know, a size that cannot be, or a checkpoint
            that is missing or has too few types.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    if path is not None:
        return _of_checkpoint(path, vocabulary, config)
    if architecture not in CAUSAL:
        raise UserError(
            f"model.architecture={architecture}: the library has no such causal language model"
            f"{nearest(architecture, CAUSAL)}"
        )
    for option, value in sizes.items():
        if value is not None and value < 1:
            raise UserError(f"model.{option}={value}: expected at least 1, or null for the architecture's own")
    if not 0 <= dropout < 1:
        raise UserError(f"model.dropout={dropout}: expected a number in [0, 1)")
    kind = CONFIG_MAPPING[architecture]
    where = f"model.architecture={architecture}"
    default = _build(kind, {}, where)
    _refuse_parts(default, where)
    overrides = {kind.attribute_map.get(name, name): value for name, value in _checked_fields(config, default).items()}
    fields = _fields(default, sizes, context) | _dropouts(default, dropout, where) | overrides
    fields["vocab_size"] = vocabulary
    sized = _build(kind, fields, where)
    positions = _name(default, "max_position_embeddings")
    if positions not in overrides and last_position(sized, where) is not None:
        sized = _build(kind, fields | {positions: context}, where)
    return sized


def _build(kind: Any, fields: dict[str, Any], where: str) -> Any:
    """Build a configuration. Raises ``UserError`` where the library refuses it."""
    problem: Exception | None = None
    # Token ids of another tokenizer must not affect a model; some architectures require them.
    for token_id in (None, 0):
        try:
            return kind(**(dict.fromkeys(TOKEN_IDS, token_id) | fields))
        except Exception as error:
            problem = problem or error
    raise UserError(f"{where}: the library refuses it ({first_line(problem)})") from problem


def first_line(error: BaseException | None) -> str:
    """Return the first line of an error of the library."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def last_position(config: Any, where: str) -> int | None:
    """Return the number of positions of a model, if its configuration sets the size of a position table."""
    name = _name(config, "max_position_embeddings")
    length = getattr(config, name, None)
    if not isinstance(length, int):
        return None
    longer = copy.deepcopy(config)
    setattr(longer, name, length + 8)
    try:
        return length if _shapes(config) != _shapes(longer) else None
    except Exception as error:
        raise UserError(f"{where}: the library cannot build it ({first_line(error)})") from error


def _shapes(config: Any) -> list[Any]:
    from transformers import AutoModelForCausalLM

    with without_memory():
        model = AutoModelForCausalLM.from_config(config)
    return [tensor.shape for tensor in [*model.parameters(), *model.buffers()]]


def _of_checkpoint(path: str, vocabulary: int, config: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if not (Path(path) / "config.json").is_file():
        raise UserError(f"model.path={path}: expected a folder with a config.json, as save_pretrained writes it")
    try:
        configuration = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"model.path={path}: {first_line(error)}") from error
    _refuse_parts(configuration, f"model.path={path}")
    for name, value in _checked_fields(config, configuration).items():
        setattr(configuration, name, value)
    if configuration.vocab_size < vocabulary:
        raise UserError(
            f"model.path={path}: it has {configuration.vocab_size} types, but the tokenizer has {vocabulary} "
            "(choose the tokenizer that it was trained with)"
        )
    return configuration


def _refuse_parts(config: Any, where: str) -> None:
    try:
        parts = config.get_text_config()
    except ValueError as error:
        raise UserError(f"{where}: it is not a text-only model") from error
    if parts is not config:
        raise UserError(f"{where}: it is not a text-only model (choose the text model in it: {parts.model_type})")


def _checked_fields(config: dict[str, Any], default: Any) -> dict[str, Any]:
    """Return the fields of ``config``. Raises ``UserError`` for one that the architecture does not have."""
    fields = {name for name in vars(default) if not name.startswith("_")} | set(default.attribute_map)
    for name, value in config.items():
        if name not in fields:
            raise UserError(
                f"model.config.{name}={value}: {default.model_type} has no such field{nearest(name, fields)}"
            )
    if "vocab_size" in config:
        raise UserError("model.config.vocab_size: the tokenizer decides how many types there are")
    return config


def _name(config: Any, name: str) -> str:
    return str(config.attribute_map.get(name, name))


def _fields(default: Any, sizes: dict[str, int | None], context: int) -> dict[str, Any]:
    """Return the fields that give a model its width, depth and heads."""
    fields: dict[str, Any] = {}
    width, depth, heads = sizes["width"], sizes["depth"], sizes["heads"]
    own = vars(default)
    old = getattr(default, "hidden_size", None)
    if width is not None and isinstance(old, int):
        for name, value in own.items():
            if not isinstance(value, int) or isinstance(value, bool) or name == "vocab_size":
                continue
            if name.endswith(INNER):
                fields[name] = max(8, round(value / old * width / 8) * 8)
            elif value == old and "position" not in name:  # widths of the same stream
                fields[name] = width
        fields[_name(default, "hidden_size")] = width
    if depth is not None:
        fields[_name(default, "num_hidden_layers")] = depth
    if heads is not None:
        for name in ("num_attention_heads", "num_key_value_heads"):
            if _name(default, name) in own:
                fields[_name(default, name)] = heads
        if width is not None and width % heads:
            raise UserError(f"model.heads={heads}: must divide model.width={width}")
        if width is not None:
            fields |= _head_widths(own, width, heads)
    if "is_decoder" in own:
        fields["is_decoder"] = True
    name = _name(default, "max_position_embeddings")
    if isinstance(getattr(default, name, None), int):
        fields[name] = max(context, getattr(default, name))
    return fields


def _head_widths(own: dict[str, Any], width: int, heads: int) -> dict[str, Any]:
    """Return fields for the width of a head, of attention and of Mamba-2, if a configuration has them."""
    fields: dict[str, Any] = {
        name: math.gcd(heads, own[name]) for name in ("n_groups", "mamba_n_groups") if isinstance(own.get(name), int)
    }
    if "num_heads" in own and "head_dim" in own and "expand" in own:
        return fields | {"num_heads": heads, "head_dim": width * own["expand"] // heads}
    if "head_dim" in own and "qk_rope_head_dim" not in own:
        fields["head_dim"] = width // heads
    if isinstance(own.get("rotary_dim"), int):
        fields["rotary_dim"] = width // heads
    if "mamba_n_heads" in own and "mamba_d_head" in own:
        fields |= {"mamba_n_heads": heads, "mamba_d_head": width * own.get("mamba_expand", 2) // heads}
    return fields


def _dropouts(default: Any, dropout: float, where: str) -> dict[str, float]:
    names = [
        name
        for name, value in vars(default).items()
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")) and "class" not in name
    ]
    if dropout and not names:
        raise UserError(f"model.dropout={dropout}: {where} has no dropout")
    return dict.fromkeys(names, dropout)


EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""Names of the configuration field for the number of experts."""


def number(config: Any, name: str) -> int:
    """Return an integer field of a configuration; 0 if it is absent or a list with a value for each block."""
    try:
        value = getattr(config, name)
    except Exception:
        return 0
    return value if isinstance(value, int) else 0


def causal_model(config: Any, path: str | None, where: str) -> Any:
    """Return the causal language model of a configuration; on the meta device, without weights.

    Args:
        config: the library's.
        path: a folder that its ``save_pretrained`` wrote; ``None``: weights are drawn as the library draws them.
        where: the user's option, for messages.

    Raises:
        UserError: the library cannot build it, or the folder lacks some of its weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # token ids beyond the vocabulary, kernels that are not installed
    try:
        if path and torch.get_default_device().type != "meta":
            options |= {"config": config, "local_files_only": True, "output_loading_info": True}
            loaded: Any = AutoModelForCausalLM.from_pretrained(path, **options)
            if missing := loaded[1]["missing_keys"]:
                raise UserError(f"{where}: the weights lack {min(missing)}")
            return loaded[0]
        causal = AutoModelForCausalLM.from_config(config, **options)
        embedding = causal.get_input_embeddings()
        if getattr(embedding, "padding_idx", None) is not None:  # here every type is text
            embedding.weight.data[embedding.padding_idx].normal_(0, embedding.weight.std().item())
            embedding.padding_idx = None
        return causal
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: the library cannot build it ({first_line(error)})") from error
    finally:
        logging.set_verbosity(verbosity)
