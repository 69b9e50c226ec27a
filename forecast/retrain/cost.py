"""What a forecast costs in service."""

from dataclasses import dataclass
from time import process_time

import numpy as np

from forecast.bundle.golden import GOLDEN
from forecast.bundle.load import Bundle
from forecast.bundle.session import MODEL
from forecast.windows.arrays import Inputs

#: Forecasts that a speed is measured on: a batch of the session.
_TIMED = 256


@dataclass(frozen=True)
class Cost:
    """What a bundle costs.

    Attributes:
        size_mb: of what a server loads: the graph and its golden vectors.
        ms_per_1000: of one processor core for 1,000 forecasts, ms.
    """

    size_mb: float
    ms_per_1000: float

    @classmethod
    def of(cls, bundle: Bundle) -> "Cost":
        """Measure it: the best of three runs of the graph on its golden inputs, repeated to a batch."""
        with np.load(bundle.folder / GOLDEN, allow_pickle=False) as golden:
            rows = np.arange(_TIMED) % len(golden["past"])
            inputs = Inputs(*(golden[name][rows] for name in ("past", "future", "static")))
        seconds = []
        for _ in range(3):
            begin = process_time()
            bundle.session.run(inputs)
            seconds.append(process_time() - begin)
        size_bytes = sum((bundle.folder / name).stat().st_size for name in (MODEL, GOLDEN))
        return cls(size_bytes / 1e6, min(seconds) / _TIMED * 1e6)
