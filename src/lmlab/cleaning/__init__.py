"""Freeing disk in an outputs folder: finding files that can be removed, and removing them. Needs no torch."""
