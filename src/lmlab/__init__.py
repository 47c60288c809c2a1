"""lmlab: a config-driven experiment framework for language models. docs/api.md shows its use from Python."""

# A copy of typing.TYPE_CHECKING: nothing may be imported here before the command line has removed the working folder
# from sys.path.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from lmlab.api import RunFailed, TrainedRun, UserError, load, train

__all__ = ["RunFailed", "TrainedRun", "UserError", "load", "runs", "train"]


def __getattr__(name: str) -> object:
    if name == "runs":  # the package lmlab.runs, which is callable
        import lmlab.runs

        return lmlab.runs
    if name in __all__:
        import lmlab.api

        return getattr(lmlab.api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})
