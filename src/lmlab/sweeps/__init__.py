"""Sweeps: searches propose jobs, engines execute them, and a directory records both."""
