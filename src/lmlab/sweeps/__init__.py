"""Sweeps: what to compute next (searches), where (engines), and a directory that holds both."""
