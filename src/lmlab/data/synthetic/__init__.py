"""Generated tasks with one right answer, on which recurrences and attention are known to differ; one file each."""

from lmlab.data.synthetic.compression import Compression
from lmlab.data.synthetic.copying import Copying
from lmlab.data.synthetic.dyck import Dyck
from lmlab.data.synthetic.fuzzy_in_context_recall import FuzzyInContextRecall
from lmlab.data.synthetic.generator import NOT_SCORED, Generator
from lmlab.data.synthetic.in_context_recall import InContextRecall
from lmlab.data.synthetic.induction_heads import InductionHeads
from lmlab.data.synthetic.memorization import Memorization
from lmlab.data.synthetic.modular_arithmetic import ModularArithmetic
from lmlab.data.synthetic.parity import Parity
from lmlab.data.synthetic.permutations import Permutations
from lmlab.data.synthetic.recall import MultiQueryRecall
from lmlab.data.synthetic.reversal import Reversal
from lmlab.data.synthetic.selective_copying import SelectiveCopying

__all__ = [
    "NOT_SCORED",
    "Compression",
    "Copying",
    "Dyck",
    "FuzzyInContextRecall",
    "Generator",
    "InContextRecall",
    "InductionHeads",
    "Memorization",
    "ModularArithmetic",
    "MultiQueryRecall",
    "Parity",
    "Permutations",
    "Reversal",
    "SelectiveCopying",
    "Task",
]

Task = Generator
"""The name of generators in earlier versions, which a user's own file may import."""
