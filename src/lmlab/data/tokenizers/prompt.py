"""A text for a model to continue, as its tokens."""

import numpy as np

from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError

_NAMED = 5
"""Parts outside the vocabulary that a warning names."""


def encode_prompt(tokenizer: Tokenizer, prompt: str, option: str) -> np.ndarray:
    """Return the ids [N] int32 of ``prompt``, given as ``option``.

    Raises:
        UserError: it is no text, or not one that the tokenizer reads.
    """
    try:
        return tokenizer.encode_prompt(prompt)
    except UserError as error:
        raise UserError(f"{option}: {error}") from error
    except (UnicodeError, TypeError):  # an argument that is not UTF-8
        raise UserError(f"{option}: is not valid UTF-8") from None


def unknown_parts(tokenizer: Tokenizer, prompt: str, option: str) -> str:
    """Return a line that names what of ``prompt`` is outside the vocabulary; empty if nothing is."""
    outside = tokenizer.outside(prompt)
    if not outside:
        return ""
    different = list(dict.fromkeys(outside))
    named = ", ".join(map(repr, different[:_NAMED])) + (", ..." if len(different) > _NAMED else "")
    read = tokenizer.decode(tokenizer.encode(outside[0])[:1])
    units = tokenizer.unit if len(outside) == 1 else f"{tokenizer.unit}s"
    return f"{option}: {len(outside)} {units} outside the vocabulary, read as {read!r}: {named}"


def left_out(tokens: int, context: int, option: str) -> str:
    """Return a line that says how many tokens of a prompt the model does not see; empty if it sees all."""
    if tokens < 1:
        return ""
    first = "the first token is" if tokens == 1 else f"the first {tokens:,} tokens are"
    return f"{option}: {first} left out, this model sees no more than {context:,} at a time"
