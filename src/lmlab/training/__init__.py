"""Training: the LightningModule, objectives, optimizers, schedules, callbacks, loggers."""

import logging

# Libraries import matplotlib, which would warn if it has no folder for its settings.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
