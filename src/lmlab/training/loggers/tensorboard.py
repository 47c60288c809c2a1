"""The optional TensorBoard logger."""

from importlib.util import find_spec

from pytorch_lightning.loggers import TensorBoardLogger

from lmlab.errors import UserError
from lmlab.runs.run import Run


def tensorboard_logger(run: Run) -> TensorBoardLogger:
    """Return a logger that writes to ``<run directory>/tensorboard``.

    Raises:
        UserError: the optional package is not installed.
    """
    if find_spec("tensorboard") is None:
        raise UserError("logger=tensorboard: the package tensorboard is missing (pip install 'lmlab[tensorboard]')")
    return TensorBoardLogger(run.path, name="tensorboard", version="")
