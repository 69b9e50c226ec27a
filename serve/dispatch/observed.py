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


def observed(live: Live, issued: Issued, places: Places, last: str) -> pl.DataFrame:
    """One row per entity and step before the forecast time: `time, entity_id`, and a column per signal.

    Args:
        last: how far back, an ISO 8601 duration; no further than what is kept.

    Raises:
        BadRequestError: it is no duration.
    """
    back = duration(last)
    if back is None:
        raise BadRequestError(f"last: {last} is no duration; write one as PT6H.")
    spec, ring = issued.forecast.spec, live.ring
    end = ring.step(issued.time)
    count = max(min(back, _LONGEST) // timedelta(seconds=spec.step_s), 1)
    values = ring.observed(places, end - count, end)
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
