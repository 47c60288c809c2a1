"""The base class of lmlab's own loggers."""

from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger

if TYPE_CHECKING:
    from lmlab.training.module import LanguageModeling


class RunLogger(Logger):
    """A logger that also receives samples of text, and the end of the run.

    Attributes:
        module: the module in training, from which rows take the current step and tokens; set before training.
    """

    module: "LanguageModeling | None" = None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run directory holds the whole configuration."""

    def log_sample(self, row: dict[str, Any]) -> None:
        """Log a sample: its text, with the step and the tokens so far."""

    def finish(self, summary: dict[str, Any], exit_code: int) -> None:
        """Close what is open at the end of a run.

        Args:
            summary: its final metrics, or only its status.
            exit_code: 0 unless it has failed.
        """
