"""A text for a model to continue, as its tokens."""

import numpy as np

from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError

_NAMED = 5
"""Number of parts outside the vocabulary that a warning names."""


def encode_prompt(tokenizer: Tokenizer, prompt: str, option: str) -> np.ndarray:
    """Return the ids [N] int32 of ``prompt``, given as ``option``.

    Raises:
        UserError: it is not valid UTF-8, or the tokenizer cannot read it.
    """
    try:
        return tokenizer.encode_prompt(prompt)
    except UserError as error:
        raise UserError(f"{option}: {error}") from error
    except (UnicodeError, TypeError):  # an argument that is not UTF-8
        raise UserError(f"{option}: is not valid UTF-8") from None


def unknown_parts(tokenizer: Tokenizer, prompt: str, option: str) -> str:
    """Return a line that names the parts of ``prompt`` outside the vocabulary; empty if there are none."""
    outside = tokenizer.outside(prompt)
    if not outside:
        return ""
    different = list(dict.fromkeys(outside))
    named = ", ".join(map(repr, different[:_NAMED])) + (", ..." if len(different) > _NAMED else "")
    read = tokenizer.decode(tokenizer.encode(outside[0])[:1])
    units = tokenizer.unit if len(outside) == 1 else f"{tokenizer.unit}s"
    return f"{option}: {len(outside)} {units} outside the vocabulary, read as {read!r}: {named}"


def left_out(tokens: int, context: int, option: str) -> str:
    """Return a line with the number of tokens of a prompt that the model does not see; empty if it sees all."""
    if tokens < 1:
        return ""
    first = "the first token is" if tokens == 1 else f"the first {tokens:,} tokens are"
    return f"{option}: {first} left out, this model sees at most {context:,} at a time"
