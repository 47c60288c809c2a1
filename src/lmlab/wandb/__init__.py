"""Weights & Biases, where a run has a copy of its rows: it can be cut short anywhere and completed later."""
