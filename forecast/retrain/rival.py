"""Whom a challenger is compared with: the version in service, or the baselines where it cannot be scored."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forecast.bundle.load import Bundle
from forecast.contracts.specs import ForecastSpec
from forecast.predictor import Predictor
from forecast.retrain.cost import Cost
from forecast.retrain.prepare import Prepared

NO_CHAMPION = "nothing is in service yet"

_DAY_S = 86_400


@dataclass(frozen=True, eq=False)
class Rival:
    """The champion, told the fleet, schedule and weather of today; or why the baselines stand in.

    Attributes:
        predictor: of the champion; None where there is none to compare with.
        why: there is none.
        age_days: from the champion's newest data to the challenger's.
        cost: of the champion.
    """

    predictor: Predictor | None = None
    why: str = NO_CHAMPION
    age_days: float = 0.0
    cost: Cost | None = None

    @classmethod
    def of(cls, champion: Bundle | None, prepared: Prepared, why: str = NO_CHAMPION) -> "Rival":
        """Bring the champion before the windows of a run."""
        if champion is None:
            return cls(why=why)
        key, trace = champion.manifest.bundle_id, prepared.trace
        if (reason := incomparable(champion.manifest.spec, prepared.spec)) is not None:
            return cls(why=f"{key} is in service, but {reason}")
        told = Predictor(champion, topology=trace.topology).told(trace.jobs, trace.weather)
        watermark = datetime.fromisoformat(champion.manifest.training["watermark"])
        age_s = (prepared.watermark - watermark).total_seconds()
        return cls(told, age_days=age_s / _DAY_S, cost=Cost.of(champion))

    @property
    def key(self) -> str | None:
        return self.predictor.bundle.manifest.bundle_id if self.predictor else None


def incomparable(champion: ForecastSpec, challenger: ForecastSpec) -> str | None:
    """Why two forecasts cannot be scored on the same windows; None where they can."""
    for name in ("targets", "step_s", "horizon_steps", "quantile_levels"):
        was, wanted = getattr(champion, name), getattr(challenger, name)
        if was != wanted:
            return f"{name} {_said(was)} there and {_said(wanted)} here"
    if lost := [name for name in champion.past if name not in challenger.past]:
        return f"it looks at {', '.join(lost)}, which this run does not read"
    return None


def _said(value: Any) -> str:
    return f"are {', '.join(map(str, value))}" if isinstance(value, tuple) else f"is {value}"
