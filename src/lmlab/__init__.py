"""lmlab: a config-driven laboratory for language models."""
