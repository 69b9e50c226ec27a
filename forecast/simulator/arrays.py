"""Names for the array types that pass between the simulator's files."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
