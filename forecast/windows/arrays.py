"""What a graph takes, as arrays: apart from what assembles them, so that running a bundle loads nothing else."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Arrays in physical units, NaN = unknown: `past [B, C, L]`, `future [B, F, H]`, `static [B, S]`."""

    past: Floats
    future: Floats
    static: Floats
