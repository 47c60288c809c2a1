"""Tasks: training data and judges of a run. One file each."""

from lmlab.data.tasks.examples import ExamplesTask
from lmlab.data.tasks.generated import GeneratedTask
from lmlab.data.tasks.task import Task
from lmlab.data.tasks.text import ScoredText, TextTask

__all__ = ["ExamplesTask", "GeneratedTask", "ScoredText", "Task", "TextTask"]
