"""Seeds: every choice left to chance follows from the recipe's one seed."""

from __future__ import annotations

import hashlib


def derive(seed: int, *parts: object) -> int:
    """A seed of its own for every piece of work: depends on what the work is, never on when it is done."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:4], "big")
