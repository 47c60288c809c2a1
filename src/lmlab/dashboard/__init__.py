"""A live browser view of runs and sweeps, with the content of ``lmlab report``."""
