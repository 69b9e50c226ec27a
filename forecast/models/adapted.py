"""A model on a site that records other channels than those it was made for."""

from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.base import CdfModel, Curved, QuantileModel, Scored
from forecast.models.cdf import Cdf
from forecast.windows.pool import placed, rearranged


def adapted(model: QuantileModel, own: ForecastSpec, site: ForecastSpec) -> QuantileModel:
    """`model`, made for `own`, behind the interface `site`; itself where the two are the same.

    What `own` looks at and the site has not is unknown to it, and of what it forecasts the site's targets are kept. The
    two must agree in window sizes, and `own` must forecast every target of the site.
    """
    if (own.past, own.targets, own.future) == (site.past, site.targets, site.future):
        return model
    return AdaptedCdf(model, own, site) if isinstance(model, CdfModel) else Adapted(model, own, site)


class Adapted(QuantileModel):
    """`model` between the channels of a site and its own."""

    def __init__(self, model: QuantileModel, own: ForecastSpec, site: ForecastSpec) -> None:
        super().__init__()
        self.model = model
        self.past = placed(site.past, own.past)
        self.future = placed(site.future, own.future)
        self.kept = [own.targets.index(name) for name in site.targets]

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        return self.model(*self._own(past, future), static)[:, self.kept]

    def curves(self) -> Tensor | None:
        return self.model.curves()

    def curved(self, past: Tensor, future: Tensor, static: Tensor) -> Curved:
        told, course = self.model.curved(*self._own(past, future), static)
        return Curved(told[:, self.kept], None if course is None else course[:, self.kept])

    def _own(self, past: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        return rearranged(past, self.past), rearranged(future, self.future)


class AdaptedCdf(Adapted, CdfModel):
    """The same, of a model that tells its CDF."""

    model: CdfModel

    def __init__(self, model: CdfModel, own: ForecastSpec, site: ForecastSpec) -> None:
        super().__init__(model, own, site)
        self.steps = model.steps

    def scored(self, past: Tensor, future: Tensor, static: Tensor) -> Scored:
        cdf, beside = self.model.scored(*self._own(past, future), static)
        return Scored(Cdf(*(part[:, self.kept] for part in cdf)), None if beside is None else beside[:, self.kept])
