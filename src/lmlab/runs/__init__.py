"""The run directory: its identity, manifest, provenance, execution and lookup."""
