"""The run directory: its identity, manifest, provenance, execution and lookup. ``lmlab.runs()`` is a table of runs."""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A callable package: ``lmlab.runs()`` returns the table of runs."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Return the runs in the outputs folder as a table (see :func:`lmlab.api.runs`)."""
        from lmlab.api import runs

        return runs(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        import inspect

        from lmlab.api import runs

        return inspect.signature(runs)


sys.modules[__name__].__class__ = _Callable
