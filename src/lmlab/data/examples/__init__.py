"""Data sets of examples: prompts with right answers. One file each."""

from lmlab.data.examples.examples import Examples
from lmlab.data.examples.multi30k import Multi30k
from lmlab.data.examples.template import Example, Template

__all__ = ["Example", "Examples", "Multi30k", "Template"]
