"""What a model is told and makes nothing, or not all, of: its forecasts look as sound as others, so a run says it."""

from collections.abc import Iterator

from forecast.contracts.specs import ForecastSpec
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.adapted import Adapted
from forecast.models.adaptive_cdf import AdaptiveCdf
from forecast.models.base import QuantileModel


def unheeded(model: QuantileModel, own: ForecastSpec, spec: ForecastSpec) -> Iterator[str]:
    """A few words on each kind of thing that is missed.

    Args:
        model: behind the interface `spec`.
        own: the interface that it was made for: another one, where its weights were learnt elsewhere.
        spec: the site's, without plans.
    """
    if strange := [name for name in (*spec.past, *spec.future) if name not in (*own.past, *own.future)]:
        yield f"the weights it began with know nothing of {', '.join(strange)}, which changes no forecast"
    inner = model.model if isinstance(model, Adapted) else model
    missing = [name for name in OUTLOOK_NAMES if name not in spec.future]
    in_part = 0 < len(missing) < len(OUTLOOK_NAMES) and not set(OUTLOOK_NAMES).isdisjoint(own.future)
    if in_part and "power_w" in spec.targets and isinstance(inner, AdaptiveCdf):
        yield (
            f"window.future names a part of the jobs' outlook, without {', '.join(missing)}: only told all "
            f"{len(OUTLOOK_NAMES)} names does the forecast look rightly where the load would lie if they hold"
        )
