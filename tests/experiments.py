"""Experiments with few options, for tests that need no run."""

from lmlab.config.experiment import Experiment

SECTIONS = {
    "paths": {"outputs": "outputs", "runs": "outputs/runs", "cache": "outputs/cache", "corpora": None},
    "batch": {"size": 4, "context": 16},
    "budget": {"tokens": 640},
    "validation": {"times": 1},
}


def experiment_of(**sections):
    """Return an experiment with these sections and defaults."""
    return Experiment.of(SECTIONS | sections)
