"""The quantile score of a library that is not ours."""

from typing import Any

import numpy as np


def quantile_score(*arguments: Any) -> np.ndarray:
    """`scoringrules.quantile_score`: imported when it is called, for it compiles for seconds and few tests ask it."""
    import scoringrules  # noqa: PLC0415

    return np.asarray(scoringrules.quantile_score(*arguments))
