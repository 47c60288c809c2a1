"""Text as an array of tokens on disk, and what a batch holds as a pure function of (seed, step, rank)."""
