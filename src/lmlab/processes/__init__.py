"""Start, supervise and signal the processes of runs."""

ENTRY = "lmlab.training.process"
"""The module whose ``main(run)`` each process of a run calls."""

PRELOAD = "LMLAB_PRELOAD"
"""Name of the environment variable with further modules for the server process to import."""
