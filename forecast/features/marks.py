"""What was found wrong with a step of a signal: one bit per fault, so that a cell can carry several.

Marks lie beside the gridded values, `[signal, entity, step]`; the names are those of the simulator's fault truth.
"""

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.uint16]


class Mark(IntFlag):
    """Faults of docs/faults.md that strike single steps."""

    DUPLICATE = 1
    CONFLICTING_DUPLICATE = 2
    OUT_OF_ORDER = 4
    SENTINEL = 8  # impossible values and the blanks of a vendor
    STUCK_SENSOR = 16
    SPIKE = 32
    KILOWATT = 64
    FAHRENHEIT = 128
    SKEWED_CLOCK = 256
    GAP = 512
    STORM = 1024


#: A step with one of these is not an observation of its signal.
UNUSABLE = Mark.STUCK_SENSOR | Mark.SPIKE | Mark.KILOWATT | Mark.FAHRENHEIT

#: Power with one of these does not tell of the load.
NO_LOAD = np.uint16(Mark.KILOWATT | Mark.SPIKE)

#: Marks of single rows, set while gridding: where one stands, something came.
ROW_MARKS = np.uint16(Mark.DUPLICATE | Mark.CONFLICTING_DUPLICATE | Mark.OUT_OF_ORDER | Mark.SENTINEL)
