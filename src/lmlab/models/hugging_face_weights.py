"""The transformers library's models, built: with new weights, or with those of a folder."""

from typing import Any

import torch

from lmlab.errors import UserError
from lmlab.models.hugging_face_config import first_line


def built(config: Any, path: str | None, where: str) -> Any:
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
