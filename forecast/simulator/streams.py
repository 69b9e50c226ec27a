"""Independent random streams by name, so that one part's draws never shift another's."""

import hashlib

import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return the generator that belongs to `name` under `seed`; the same arguments always give the same numbers.

    Drawing per day (`stream(seed, "sensors", day)`) makes a longer simulation an extension of a shorter one.
    """
    digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))
