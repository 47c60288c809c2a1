"""The randomness of a run: a pure function of seed, step and rank."""

import hashlib


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of all random draws of one micro-batch on one rank: unrelated for any two (seed, step, rank)."""
    digest = hashlib.blake2b(f"{seed},{step},{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
