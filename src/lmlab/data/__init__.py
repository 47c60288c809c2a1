"""Text as an array of tokens on disk, and batches as a pure function of (seed, step, rank)."""
