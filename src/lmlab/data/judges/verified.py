"""The share of answers that an exact verifier accepts."""

from lmlab.data.examples.arithmetic import verify
from lmlab.data.examples.template import Example
from lmlab.data.judges.answers import MeanScore
from lmlab.data.judges.question_answering import EXACT_MATCH


class Verified(MeanScore):
    """The share of answers that :func:`lmlab.data.examples.verify` accepts, from 0 to 100."""

    def __init__(self) -> None:
        super().__init__(EXACT_MATCH, lambda answer, reference: 100.0 * verify(Example("", (reference,)), answer))
        self.signature = "equal to a reference but for white space"


def metric(name: str) -> Verified:
    """Return the metric ``verified``."""
    return Verified()
