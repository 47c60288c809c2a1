"""Configurations: composing, checking, identity, the typed experiment, and building of objects."""
