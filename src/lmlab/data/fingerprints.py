"""The fingerprint of a corpus whose ids are not all known yet."""

import hashlib
from collections.abc import Mapping
from typing import Any


def streamed_fingerprint(data: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of all that the ids of a corpus follow from: its text and its tokenizer.

    Args:
        data: the description of a prepared corpus, or a run's record of its data.
    """
    inputs = "\0".join(("streamed", str(data.get("corpus_fingerprint")), str(data.get("tokenizer_fingerprint"))))
    return hashlib.sha256(inputs.encode()).hexdigest()
