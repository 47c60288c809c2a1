"""Data sets of examples: prompts with right answers. One file each."""

from lmlab.data.examples.aligned import Aligned
from lmlab.data.examples.arithmetic import Arithmetic, verify
from lmlab.data.examples.examples import Examples
from lmlab.data.examples.multiple_choice import MultipleChoice
from lmlab.data.examples.question_answering import QuestionAnswering
from lmlab.data.examples.records import LastWord, Records
from lmlab.data.examples.template import Example, Template

__all__ = [
    "Aligned",
    "Arithmetic",
    "Example",
    "Examples",
    "LastWord",
    "MultipleChoice",
    "QuestionAnswering",
    "Records",
    "Template",
    "verify",
]
