"""The metrics that runs are compared by."""

METRICS = {
    "validation/bits_per_byte": ("bits/byte", "minimize"),
    "validation/loss": ("loss (nats/token)", "minimize"),
    "validation/accuracy": ("accuracy", "maximize"),
    "longer/accuracy": ("accuracy on longer sequences", "maximize"),
}
"""Metrics that arms are compared by: what they are called, and which is better."""
