"""Mirror a run's metrics to Weights & Biases; interruptible and resumable."""
