"""Free disk in an outputs folder: what can be removed, what is left alone and why, and removing it. Needs no torch."""
