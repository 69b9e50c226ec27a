"""A distribution over values chosen for each window: for loads that are idle or busy, where a centre means nothing.

The probability of a cell between two values follows from how the two lie to the context and to the newest value. Cells
of all windows share these weights, which vary over the horizon and bend with the state of the window; a normal
distribution about what other days say (`days.py`) is one of their terms, those days themselves another. Few weights say
most of it, which is why it is learnt in a few hundred steps. Up to a quarter of each quantile is that of a linear
forecast, which learns beside it and errs at other times.
"""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.models.ahead import AheadScaler, Drivers, has_drivers
from forecast.models.base import CdfModel, Curved, ModelConfig, Scored
from forecast.models.cdf import Cdf, quantiles_of
from forecast.models.course import HourlyCourse, UsualDay, learns_usual_day, tells_hourly_course
from forecast.models.days import Days
from forecast.models.grid import LEAST, Grid
from forecast.models.known import JobOutlook, has_outlook
from forecast.models.linear import Straight
from forecast.models.outcomes import Outcomes
from forecast.models.quantiles import apart, spread_out
from forecast.models.scaling import FARTHEST, Scaled, Scaler
from forecast.models.shape import Shape
from forecast.models.summary import Summary

#: This much probability lies evenly over the whole grid: no cell is impossible, and no quantile falls in an empty one.
_ANYWHERE = 0.01

#: So much more does where nothing of the target was ever seen.
_UNHEARD_OF = 0.5

#: Precision of the normal distribution at first, 1 / (2 · σ²), in spreads of the context.
_PRECISION = 0.25

#: How much a cell gains at first by what other days say of it: a few weeks of a few machines hardly teach better.
_DAILY = 0.5

#: Parts that can be left out: weights that bend with the window's state, the normal distribution about the median, what
#: other days say, the course that recurs every hour, the usual day, and the linear forecast beside.
PARTS = ("state", "normal", "days", "course", "usual", "linear")

#: Of a horizon longer than the most, a quarter of the steps is decoded, but as many as the fewest at least.
_FEWEST, _MOST = 10, 20

#: The share of the linear forecast in what is told: none at the first step, so much after so many. What lies nearest it
#: blurs: the distribution knows whether a machine is idle or busy, and what its meter reads.
_LINEAR, _LINEAR_FROM = 0.25, 4

#: Quantiles are calibrated as sums of curves where there are so many times as many steps: for fewer it takes longer.
_FEW = 2


@dataclass
class AdaptiveCdfConfig(ModelConfig):
    """Settings of `AdaptiveCdf`.

    Attributes:
        width: features of the window's shape; 0 leaves it out, which is better for a handful of series. On hundreds of
            simulated ones 128 were 4 % better in one comparison and 1 % worse in another.
        blocks: residual blocks over them.
        hidden: features per step of the horizon.
        rank: features per cell that the network makes, beside those of the grid.
        points: steps of the horizon that are decoded, dense at first; quantiles between them are interpolated. None
            decodes all of up to 20; of more a quarter, 10 to 20 of them.
        dropout: share of features dropped in training.
        without: parts left out, of `PARTS`, to see what each is worth (docs/model.md).
    """

    LEAST: ClassVar = {"width": 0, "blocks": 1, "hidden": 1, "rank": 0, "points": 2}

    width: int = 0
    blocks: int = 1
    hidden: int = 64
    rank: int = 24
    points: int | None = None
    dropout: float = 0.5
    without: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [part for part in self.without if part not in PARTS]
        if unknown:
            raise ConfigError(f"model.without names {unknown[0]!r}; it can leave out {', '.join(PARTS)}.")

    def build(self, spec: ForecastSpec, skus: int) -> "AdaptiveCdf":
        return AdaptiveCdf(self, spec, skus)


class Beside(NamedTuple):
    """The linear member, in the targets' units.

    Attributes:
        median: `[B, T, H]`.
        scale: `[B, T, 1, 1]`, what is told of the steps from one quantile to the next counts so much.
        summary: `[B, S]`, what tells them.
    """

    median: Tensor
    scale: Tensor
    summary: Tensor


class AdaptiveCdf(CdfModel):
    """Masses of the cells of a `Grid`: cell features times weights per step, then a softmax over the cells."""

    def __init__(self, config: AdaptiveCdfConfig, spec: ForecastSpec, skus: int) -> None:
        super().__init__()
        self.without = frozenset(config.without)
        self.levels = spec.quantile_levels
        self.targets = len(spec.targets)
        self.steps = _decoded(spec.horizon_steps, config.points or _points(spec.horizon_steps))
        self.scaler = Scaler(spec)
        self.known = AheadScaler(spec)
        self.drivers = Drivers(spec) if has_drivers(spec) else None
        self.summary = Summary(spec, skus, self.known.size)
        self.grid = Grid(spec)
        state = self.summary.size + self.targets
        self.state = nn.Sequential(nn.Linear(state, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.hidden))
        self.shape = None
        if config.width:
            self.shape = Shape(spec, state, config.width, config.blocks, config.dropout, config.hidden)
        self.told = [] if self.drivers is None else [*self.drivers.drivers, *self.drivers.masks]
        self.ahead = nn.Linear(len(self.told), config.hidden, bias=False) if self.told else None
        self.jobs, self.outcomes = None, None
        if has_outlook(spec):
            self.jobs = JobOutlook(spec, torch.tensor(self.steps), self.summary.size, config.hidden)
            self.outlook = nn.Linear(JobOutlook.features, config.hidden, bias=False)
            self.outcomes = Outcomes(self.jobs, self.summary.size, self.grid.size)
        self.place = nn.Parameter(0.3 * torch.randn(len(self.steps), config.hidden))
        self.step = nn.Sequential(
            nn.ReLU(), nn.Linear(config.hidden, config.hidden), nn.ReLU(), nn.Dropout(config.dropout)
        )
        self.cells = CellFeatures(config, self.targets)
        self.start = nn.Parameter(self._start(spec, self.cells.size))
        self.bend = nn.Linear(config.hidden, self.targets * self.cells.size, bias=False)
        nn.init.normal_(self.bend.weight, std=0.03)
        self.daily = nn.Linear(config.hidden, self.targets)
        nn.init.zeros_(self.daily.weight)
        nn.init.constant_(self.daily.bias, _DAILY)
        self.sharpness = nn.Linear(self.summary.size, self.targets * len(self.steps))
        nn.init.zeros_(self.sharpness.weight)
        nn.init.zeros_(self.sharpness.bias)
        self.even = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("hats", _between(self.steps), persistent=False)
        self.register_buffer("at", torch.tensor(self.steps), persistent=False)
        self.course = HourlyCourse(spec) if "course" not in self.without and tells_hourly_course(spec) else None
        self.usual = UsualDay(spec, skus) if "usual" not in self.without and learns_usual_day(spec) else None
        days = 0 if "days" in self.without else spec.context_steps // spec.day_steps
        self.days = Days(spec, self.at, days)
        # What is told of the weather and of jobs is followed by the distribution alone.
        alone = "linear" in self.without or self.drivers is not None
        self.linear = None if alone else Straight(spec, self.summary.size)
        share = torch.ones(spec.horizon_steps)
        if self.linear is not None:
            share -= _LINEAR * (torch.arange(spec.horizon_steps) / _LINEAR_FROM).clamp(max=1.0)
        self.register_buffer("share", share, persistent=False)
        self._keep_curves(spec)

    def _keep_curves(self, spec: ForecastSpec) -> None:
        """The curves that quantiles are sums of.

        Widths of the linear member are told at its knots, within a day at the decoded steps: those are fewer.
        """
        curves = self.hats * self.share
        if self.linear is not None:
            self.within_day = spec.horizon_steps < spec.day_steps
            knots = torch.linspace(0, spec.horizon_steps - 1, self.linear.shape[2]).round().long()
            self.register_buffer("beside_at", self.at if self.within_day else knots, persistent=False)
            beside_hats = self.hats if self.within_day else self.linear.hats
            curves = torch.cat([curves, beside_hats * (1 - self.share)])
        self.register_buffer("all_curves", curves, persistent=False)

    hats: Tensor
    at: Tensor
    share: Tensor
    beside_at: Tensor
    all_curves: Tensor

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> Tensor:
        told, course = self.curved(past, future, static)
        quantiles = torch.matmul(told, self.all_curves)
        if course is not None:
            quantiles = quantiles + course[:, :, None]
        return quantiles if self.usual is None else self.scaler.possible(quantiles)

    def curves(self) -> Tensor | None:
        """Where they are few beside the steps; and none where a usual day may lead a sum below what is possible."""
        few = _FEW * self.all_curves.shape[0] <= self.all_curves.shape[1]
        return self.all_curves if few and self.usual is None else None

    def curved(self, past: Tensor, future: Tensor, static: Tensor) -> Curved:
        cdf, recurring, beside = self._told(past, future, static)
        told, course = quantiles_of(cdf, self.levels), None
        if recurring is not None:
            course = self.share * recurring * cdf.unit
        if beside is not None and self.linear is not None:
            told = torch.cat([told, self._apart(self.linear, beside)], dim=3)
            shared = (1 - self.share) * beside.median
            course = shared if course is None else course + shared
        return Curved(told, course)

    def scored(self, past: Tensor, future: Tensor, static: Tensor) -> Scored:
        cdf, recurring, beside = self._told(past, future, static)
        if recurring is not None:
            cdf = cdf._replace(shift=recurring[:, :, self.at])
        if beside is None or self.linear is None:
            return Scored(cdf, None)
        steps = torch.matmul(self.linear.at_knots(beside.summary) * beside.scale, self.linear.hats)
        return Scored(cdf, self.scaler.possible(spread_out(beside.median, steps, self.levels)))

    def _told(self, past: Tensor, future: Tensor, static: Tensor) -> tuple[Cdf, Tensor | None, Beside | None]:
        """The CDF but for what recurs; that, in typical scales, `[B, T, H]`; and the linear forecast."""
        context, usual = self.scaler(past, static), None
        if self.usual is not None:
            context, usual = self.usual(context, future, static)
        scaled, recurring = context, usual
        if self.course is not None:
            scaled, hourly = self.course(context)
            recurring = hourly if usual is None else hourly + usual
        ahead = self.known(future, scaled)
        summary = self.summary(scaled, ahead, static)
        values = self.grid(scaled)
        said = self.days(scaled, future)
        looked = self.jobs.look(scaled, ahead, summary) if self.jobs is not None else None
        told = None if looked is None else looked.features
        step, shape = self._steps(scaled, ahead, summary, told)
        bend = 0 * self.bend(step) if "state" in self.without else self.bend(step)
        weights = (self.start + bend).unflatten(2, (self.targets, -1)).transpose(1, 2)
        logits = self.cells(self.grid.cells(values, scaled), shape, weights)
        if "normal" not in self.without:
            logits = logits + self._normal(values, said.median, scaled, ahead, summary, told, step)
        if self.jobs is not None and looked is not None:
            logits = logits + self.jobs(values, scaled, looked.centres, looked.features[..., 0], step)
        if self.days.days:
            daily = self.grid.daily(values, said.paths, said.weights)
            logits = logits + daily * self.daily(step).transpose(1, 2)[..., None]
        masses = torch.softmax(logits, dim=3)
        if self.outcomes is not None and looked is not None:
            outcomes, share = self.outcomes(values, scaled, looked, summary, said.median)
            masses = masses + share * (outcomes - masses)
        cdf = self._cdf(values, masses, scaled)
        if recurring is not None:
            recurring = recurring * scaled.spread[:, : self.targets]
        return cdf, recurring, self._beside(context, summary, usual)

    def _beside(self, scaled: Scaled, summary: Tensor, usual: Tensor | None) -> Beside | None:
        if self.linear is None:
            return None
        scale = (scaled.spread * scaled.unit)[:, : self.targets]
        median = self.linear.skip(scaled.z, scaled.seen)
        if usual is not None:
            median = median + usual
        centre = median * scale + (scaled.loc * scaled.unit)[:, : self.targets]
        return Beside(centre, scale[:, :, None], summary)

    def _apart(self, linear: Straight, beside: Beside) -> Tensor:
        """How far the linear member's quantiles lie from its median at the steps `beside_at`, `[B, T, Q, steps]`."""
        summary = beside.summary
        steps = linear.at_steps(summary, self.at) if self.within_day else linear.at_knots(summary)
        away = apart(steps * beside.scale, self.levels)
        if not self.scaler.bounded:
            return away
        centre = beside.median.index_select(2, self.beside_at)[:, :, None]
        return self.scaler.possible(centre + away) - centre

    def _steps(
        self, scaled: Scaled, ahead: Tensor, summary: Tensor, told: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Features of each decoded step `[B, P, hidden]`, and of the window's shape `[B, width]`."""
        state = torch.cat([summary, self.grid.newest(scaled)[..., 0]], dim=1)
        step = self.state(state)[:, None] + self.place
        shape = None
        if self.shape is not None:
            shape, spoken = self.shape(scaled, state)
            step = step + spoken[:, None]
        if self.ahead is not None:
            step = step + self.ahead(ahead[:, self.told][:, :, self.at].transpose(1, 2))
        if told is not None:
            step = step + self.outlook(told)
        return _rows(self.step, step), shape

    def _normal(
        self,
        values: Tensor,
        median: Tensor,
        scaled: Scaled,
        ahead: Tensor,
        summary: Tensor,
        told: Tensor | None,
        step: Tensor,
    ) -> Tensor:
        """Log of a normal density about `median [B, T, P]` and of the cell's width, `[B, T, P, K - 1]`.

        As a square, not multiplied out: a sharp density far from its centre would lose its digits to cancellation.
        """
        low, high = values[:, :, :-1], values[:, :, 1:]
        centre = ((low + high) / 2).clamp(-FARTHEST, FARTHEST)
        if self.drivers is not None:
            median = median + self.drivers(ahead, scaled)[:, :, self.at]
        sharpness = self.sharpness(summary).unflatten(1, (self.targets, -1, 1))
        if self.jobs is not None and told is not None:
            median = median + self.jobs.shift(told, scaled, step, median)
            sharpness = sharpness + self.jobs.sharper(told, step)
        away = centre[:, :, None] - median[..., None]
        density = (_PRECISION * sharpness.clamp(-FARTHEST, FARTHEST).exp() * away * away).clamp(max=LEAST)
        logits: Tensor = (self.even * (high - low + 1e-3).log())[:, :, None] - density
        return logits

    def _cdf(self, values: Tensor, masses: Tensor, scaled: Scaled) -> Cdf:
        loc, spread, unit = (part[:, : self.targets] for part in (scaled.loc, scaled.spread, scaled.unit))
        physical = values * spread + loc
        widths = physical.diff(dim=2)
        evenly = (widths / widths.sum(2, keepdim=True))[:, :, None]
        unseen = 1 - scaled.seen[:, : self.targets].amax(2)[..., None, None]
        anywhere = _ANYWHERE + _UNHEARD_OF * unseen
        # Cells lie last as long as there is one of something for each, and first for sums over them: the runtime is
        # slow at the other way round.
        told = (masses * (1 - anywhere) + evenly * anywhere).transpose(2, 3)
        return Cdf(physical, told, unit, torch.zeros_like(told[:1, :, 0, :1]))

    def _start(self, spec: ForecastSpec, size: int) -> Tensor:
        """Weights before training `[P, T · size]`: persistence that fades, and the context's distribution."""
        start = torch.zeros(len(self.steps), self.targets, size)
        lead_h = torch.tensor(self.steps)[:, None] * spec.step_s / 3600
        start[:, :, Grid.KERNEL] = 3 * torch.exp(-lead_h / 6)
        start[:, :, Grid.NEWEST] = 2 * torch.exp(-lead_h / 2)
        start[:, :, Grid.SHARES] = torch.tensor([0.3, 0.3, 1.0])
        return start.flatten(1)


class CellFeatures(nn.Module):
    """Features of a grid's cells, `size` of them: `[B, T, F, K - 1]` of the grid, and `rank` more made of those."""

    _HIDDEN = 48

    def __init__(self, config: AdaptiveCdfConfig, targets: int) -> None:
        super().__init__()
        self.size = Grid.features + config.rank
        self.targets = targets
        self.inward = nn.Linear(Grid.features, self._HIDDEN)
        self.shape = nn.Linear(config.width, targets * self._HIDDEN, bias=False) if config.width else None
        self.outward = nn.Linear(self._HIDDEN, config.rank, bias=False)  # it would add the same to every cell

    def forward(self, cells: Tensor, shape: Tensor | None, weights: Tensor) -> Tensor:
        """The features of `cells` times their `weights [B, T, P, size]`, `[B, T, P, K - 1]`.

        The last layer meets the weights first: there are fewer of them than of cells.
        """
        rows = cells.transpose(2, 3)
        hidden = self.inward(rows.flatten(0, 2))  # as rows of one matrix, for what `_rows` says
        if self.shape is not None and shape is not None:
            told = self.shape(shape).unflatten(1, (self.targets, 1, -1)).expand(-1, -1, rows.shape[2], -1)
            hidden = hidden + told.flatten(0, 2)
        made = torch.relu(hidden).unflatten(0, rows.shape[:3]).transpose(2, 3)
        given, taken = weights.split([Grid.features, self.size - Grid.features], dim=3)
        logits: Tensor = torch.matmul(given, cells) + torch.matmul(torch.matmul(taken, self.outward.weight), made)
        return logits


def _rows(layers: nn.Module, features: Tensor) -> Tensor:
    """Layers over the last axis, as over the rows of one matrix: the runtime then makes bias and ReLU a part of it."""
    made: Tensor = layers(features.flatten(0, -2)).unflatten(0, features.shape[:-1])
    return made


def _points(horizon_steps: int) -> int:
    """How many steps are decoded if the configuration does not say: what is near is told step by step."""
    return _MOST if horizon_steps <= _MOST else min(max(horizon_steps // 4, _FEWEST), _MOST)


def _decoded(horizon_steps: int, most: int) -> list[int]:
    """At most so many steps from the first to the last of the horizon, their distance growing with the lead."""
    if horizon_steps <= most:
        return list(range(horizon_steps))
    return sorted({round((horizon_steps - 1) * (place / (most - 1)) ** 2) for place in range(most)})


def _between(steps: list[int]) -> Tensor:
    """Linear interpolation from `steps` to every step up to the last, as weights `[P, H]`."""
    place = torch.arange(steps[-1] + 1.0)
    if len(steps) == 1:
        return torch.ones(1, 1)
    known = torch.tensor(steps, dtype=torch.float32)
    left = (torch.searchsorted(known, place, right=True) - 1).clamp(max=len(steps) - 2)
    share = (place - known[left]) / (known[left + 1] - known[left])
    weights = torch.zeros(len(steps), len(place))
    weights[left, torch.arange(len(place))] = 1 - share
    weights[left + 1, torch.arange(len(place))] += share
    return weights
