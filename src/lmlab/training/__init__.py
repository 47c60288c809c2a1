"""The LightningModule and what it is made of: objectives, optimizers, schedules, callbacks, loggers."""

import logging

# Libraries import matplotlib, which has no need here of a folder for its settings and would say if it has none.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
