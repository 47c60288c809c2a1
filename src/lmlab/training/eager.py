"""Running a network that is compiled for training without compiling it anew for a few tokens."""

from contextlib import AbstractContextManager, nullcontext

import torch


def eager(compiled: bool) -> AbstractContextManager[object]:
    """Run below what is ``compiled`` as it is written. Nothing that compiles is imported for what is not."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
