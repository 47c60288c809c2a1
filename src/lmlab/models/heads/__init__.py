"""Heads, one file each: from hidden vectors to the distribution of the next token."""
