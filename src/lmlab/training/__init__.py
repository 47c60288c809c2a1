"""The LightningModule and what it is made of: objectives, optimizers, schedules, callbacks, loggers."""
