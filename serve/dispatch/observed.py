"""What was observed before a forecast, for the chart that it is drawn into."""

from datetime import timedelta

import numpy as np
import polars as pl

from forecast.contracts.tables import UTC as TIME
from serve.dispatch.times import duration
from serve.engine.issued import Issued, Places
from serve.engine.live import Live
from serve.refusals import BadRequestError

#: Nothing older is kept for long.
_LONGEST = timedelta(days=14)


def steps_back(last: str, issued: Issued) -> int:
    """How many steps before a forecast are meant; no further than what is kept.

    Args:
        last: an ISO 8601 duration.

    Raises:
        BadRequestError: it is none.
    """
    back = duration(last)
    if back is None:
        raise BadRequestError(f"last: {last} is no duration; write one as PT6H.")
    return max(min(back, _LONGEST) // timedelta(seconds=issued.forecast.spec.step_s), 1)


def observed(live: Live, issued: Issued, places: Places, count: int) -> pl.DataFrame:
    """One row per entity and step before the forecast time: `time, entity_id`, and a column per signal.

    Args:
        count: of steps.
    """
    spec, end = issued.forecast.spec, live.ring.step(issued.time)
    values = live.ring.observed(places, end - count, end)
    starts = [issued.time - timedelta(seconds=spec.step_s * (count - at)) for at in range(count)]
    return pl.DataFrame(
        {
            "time": pl.Series(starts * len(places), dtype=TIME),
            "entity_id": pl.Series(issued.topology.entities, dtype=pl.String)[np.repeat(places, count)],
            **{
                name: pl.Series(values[at].ravel(), dtype=pl.Float32, nan_to_null=True)
                for at, name in enumerate(spec.past)
            },
        }
    )
