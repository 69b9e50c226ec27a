"""What the dispatch routes are asked and answer, as OpenAPI has it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Level = Literal["gpu", "server", "rack", "row", "hall", "site", "fleet"]
Target = Literal["power_w", "temperature_c"]
Layout = Literal["rows", "columns"]
Source = Literal["model", "last_good", "seasonal", "training", "safe_bound"]
Status = Literal["ok", "new", "sparse", "partial", "stale", "no_data"]

#: A name of an entity: no longer than anybody would type.
Name = Annotated[str, Field(max_length=256)]
Confidence = Annotated[
    float, Field(ge=0.001, le=0.999, description="the chance at each single step that so much room is left")
]

_TIME = "a time with its zone (2026-06-01T18:00Z), or an ISO 8601 duration from the forecast time on (PT6H)"


class Listed(BaseModel):
    """How JSON lists the rows of a table."""

    model_config = ConfigDict(extra="forbid")

    layout: Layout = Field("rows", description="whether JSON has an object per row or a list per column")


class Chosen(Listed):
    """Which entities; all conditions hold together."""

    entity: list[Name] = Field([], max_length=1000, description="entities by name")
    level: Level | None = Field(None, description="only entities of this level of the tree")
    under: Name | None = Field(None, description="only this entity and all below it")


class Stretch(Listed):
    """Which part of the horizon."""

    begin: str | None = Field(None, alias="from", description=f"first step: {_TIME}")
    until: str | None = Field(None, description=f"end of the last step: {_TIME}; the end of the forecast if none")
    target: list[Target] = Field([], max_length=2, description="forecast signals; all if none")
    allow_fallback: bool = Field(True, description="false: 503 unless the model speaks for all of them on fresh data")


class QuantilesAsked(Stretch):
    """Which quantiles."""

    quantile: list[float] = Field([], max_length=99, description="quantile levels; all of the forecast's if none")


class Within(Chosen, Stretch):
    """Which entities, over which part of the horizon."""


class RowsAsked(Within, QuantilesAsked):
    """Forecast rows."""


class RoomAsked(Within):
    """Headroom."""

    confidence: Confidence = 0.9


class TightestAsked(RoomAsked):
    """The tightest."""

    n: int = Field(10, ge=1, le=10_000, description="rows per target")


class OddsAsked(Within):
    """Exceedance of a limit."""

    target: list[Target] = Field(["power_w"], min_length=1, max_length=1, description="the forecast signal")
    limit: float | None = Field(
        None, allow_inf_nan=False, description="in the signal's unit (W, °C); each entity's own limit if none"
    )


class ObservedAsked(Chosen):
    """What was observed."""

    entity: list[Name] = Field(min_length=1, max_length=100, description="entities by name")
    last: str = Field("P1D", max_length=40, description="how far back: an ISO 8601 duration")


class WhatIfAsked(QuantilesAsked):
    """What to show of a forecast under plans."""

    confidence: Confidence = 0.9


class PlacementsAsked(Listed):
    """What to show of candidates."""

    confidence: Confidence = 0.9
    allow_fallback: bool = Field(True, description="false: 503 unless the model speaks for all of them on fresh data")


#: As far as the contract of `power_w` goes.
Watts = Annotated[float, Field(ge=0, le=2e9, allow_inf_nan=False)]
MoreWatts = Annotated[float, Field(ge=-2e9, le=2e9, allow_inf_nan=False)]
PerStep = Annotated[list[Watts | None], Field(max_length=10_000)]
FromTimes = Annotated[dict[str, Watts | None], Field(max_length=10_000)]
MorePerStep = Annotated[list[MoreWatts | None], Field(max_length=10_000)]
MoreFromTimes = Annotated[dict[str, MoreWatts | None], Field(max_length=10_000)]

_TRAJECTORY = (
    "W: a list of one value per step from the first on, no longer than the forecast, or an object of ISO 8601 times to "
    "values, each held until the next"
)


class PlanTold(BaseModel):
    """A plan for one entity: all of its load, or what is added to it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"oneOf": [{"required": ["power_w"]}, {"required": ["added_power_w"]}]}
    )

    entity_id: Name
    power_w: PerStep | FromTimes = Field([], description=f"takes the place of its load. {_TRAJECTORY}")
    added_power_w: MorePerStep | MoreFromTimes = Field([], description=f"comes on top of its load. {_TRAJECTORY}")

    @model_validator(mode="after")
    def _is_one(self) -> "PlanTold":
        if len({"power_w", "added_power_w"} & self.model_fields_set) != 1:
            raise ValueError("give power_w or added_power_w, and not both")
        return self


class PlansTold(BaseModel):
    """Plans that hold together."""

    model_config = ConfigDict(extra="forbid")

    plans: list[PlanTold] = Field(min_length=1, max_length=1000)


class CandidateTold(BaseModel):
    """A place and a time for additional load."""

    model_config = ConfigDict(extra="forbid")

    entity_id: Name
    added_power_w: MoreWatts
    begin: str | None = Field(None, alias="from", description=f"{_TIME}; the beginning of the forecast if none")
    until: str | None = Field(None, description=f"{_TIME}; the end of the forecast if none")


class CandidatesTold(BaseModel):
    """Places that exclude each other: each is judged alone."""

    model_config = ConfigDict(extra="forbid")

    candidates: list[CandidateTold] = Field(min_length=1, max_length=1000)


class Refusal(BaseModel):
    """Why there is no such answer, in one line."""

    model_config = ConfigDict(extra="forbid")

    error: str


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Summary(_Told):
    """A named forecast: what there is to ask of it, and how fresh it is."""

    name: str
    bundle_id: str
    step_s: int
    horizon_steps: int
    targets: list[Target]
    quantile_levels: list[float]
    takes_plans: bool = Field(description="whether its graph answers to planned power")
    entities: dict[Level, int] = Field(description="number of entities by level")
    forecast_time: datetime | None = Field(description="null before the first forecast")
    data_time: datetime | None = Field(description="end of the newest step observed, of any entity")
    age_s: float | None = Field(description="seconds since data_time")
    falls_back: bool | None = Field(description="whether anything but the model on fresh data speaks for any entity")


class Summaries(_Told):
    """The forecasts in service."""

    forecasts: list[Summary]


class CycleParts(_Told):
    """What the newest forecast took, in seconds."""

    telemetry_s: float = Field(description="taking in what came since the forecast before")
    model_s: float = Field(description="the graph, and what it is given")
    ladder_s: float = Field(description="the fallback ladder, and all else")


class Health(Summary):
    """How a forecast and its data fare."""

    issued_at: datetime | None
    bundle_refused: str | None = Field(description="why what is published now is not in service")
    problems: dict[str, str] = Field(description="what goes wrong now, by where")
    sources: dict[Source, int] | None = Field(description="entities by the lowest rung of the fallback ladder in use")
    statuses: dict[Status, int]
    without_data: int = Field(description="entities of which the context tells nothing")
    rows: int = Field(description="rows of telemetry taken in since the start")
    rows_set_aside: dict[str, int] = Field(description="other rows, by reason")
    faults: dict[str, int] = Field(description="faulty values of the newest hour, by kind of fault")
    cycles: int = Field(description="forecasts since the start")
    cycle_s: float | None = Field(description="seconds from telemetry to the newest forecast")
    cycle_parts: CycleParts | None
    mean_cycle_s: float | None


class Provenance(_Told):
    """What all rows of an answer come from."""

    forecast: str
    bundle_id: str
    forecast_time: datetime
    issued_at: datetime
    begin: datetime = Field(alias="from")
    until: datetime


class Entity(_Told):
    """A row of the topology."""

    entity_id: str
    parent_id: str | None
    level: Level
    sku: str
    power_limit_w: float | None
    temperature_limit_c: float | None
    site: str
    time_zone: str
    country: str | None


class Entities(_Told):
    """The fleet tree, leaves first."""

    forecast: str
    bundle_id: str
    rows: list[Entity] | None = None
    columns: dict[str, list[str | float | None]] | None = None


class _Row(BaseModel):
    forecast_time: datetime
    valid_time: datetime
    entity_id: str
    level: Level
    bundle_id: str
    data_time: datetime | None
    source: Source
    status: Status


class ForecastRow(_Row):
    """The forecast contract: beside these, `<target>_p<percent>`, `<headroom>_p<percent>` and `<target>_exceedance`."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, float | None]


class Forecasts(Provenance):
    """Rows of a forecast."""

    rows: list[ForecastRow] | None = None
    columns: dict[str, list[str | float | None]] | None = None


class RoomRow(_Row):
    """The least room that an entity keeps below a limit."""

    model_config = ConfigDict(extra="forbid")

    target: Target
    unit: str
    limit: float | None
    headroom: float | None = Field(description="below zero: so much above the limit; null where no limit is known")
    share: float | None = Field(description="of the limit")
    confidence: float
    valid_time: datetime = Field(description="start of the step where it is least")
    age_s: float | None


class Rooms(Provenance):
    """Headroom by entity and target."""

    confidence: float
    basis: Literal["quantile", "interpolated", "tail"] = Field(
        description="whether the forecast has a quantile there, or it lies between two, or beyond the outermost"
    )
    rows: list[RoomRow] | None = None
    columns: dict[str, list[str | float | None]] | None = None


class OddsRow(_Row):
    """The probability of passing a limit in one step."""

    model_config = ConfigDict(extra="forbid")

    target: Target
    unit: str
    limit: float | None
    exceedance: float | None = Field(description="null where no limit is known, or nothing but a safe bound")
    age_s: float | None


class LargestOdds(_Told):
    """The step in which an entity most likely passes its limit."""

    entity_id: str
    valid_time: datetime
    exceedance: float


class Odds(Provenance):
    """Exceedance by entity and step."""

    target: Target
    limit: float | None
    tails: str
    largest: list[LargestOdds] = Field(description="per entity, those first that are most likely to")
    rows: list[OddsRow] | None = None
    columns: dict[str, list[str | float | None]] | None = None


class PlannedRow(ForecastRow):
    """A row of a forecast under plans; null where it is not known."""

    plan: Literal["followed", "added", "below"] = Field(description="its own plan, or those of entities below it")
    answered_by: Literal["graph", "shift"] = Field(description="shift: its load was moved, nothing is known of heat")


class WhatIf(Provenance):
    """The forecast under plans, of those who have one and all above them."""

    confidence: float
    basis: Literal["quantile", "interpolated", "tail"]
    headroom: list[RoomRow]
    rows: list[PlannedRow] | None = None
    columns: dict[str, list[str | float | None]] | None = None


class PlacementRow(BaseModel):
    """What a candidate would leave, over its own steps."""

    model_config = ConfigDict(extra="forbid")

    candidate: int = Field(description="place in the request, from 0")
    entity_id: str
    level: Level
    power_headroom_w: float | None
    power_tightest: datetime | None
    power_exceedance: float | None = Field(description="the largest of its steps")
    thermal_headroom_c: float | None
    thermal_tightest: datetime | None
    thermal_exceedance: float | None
    above: str | None = Field(description="the entity above it with the least room left for power")
    above_headroom_w: float | None
    fits: bool | None = Field(description="whether room is left everywhere; null where that is not known")
    confidence: float
    answered_by: Literal["graph", "shift"]
    forecast_time: datetime
    bundle_id: str
    data_time: datetime | None
    age_s: float | None
    source: Source
    status: Status


class Placements(Provenance):
    """Candidates, in the order in which they came."""

    confidence: float
    basis: Literal["quantile", "interpolated", "tail"]
    rows: list[PlacementRow] | None = None
    columns: dict[str, list[str | float | bool | None]] | None = None


class MapColumns(_Told):
    """Of one target: the least headroom, its share of the limit, and the largest exceedance over the stretch."""

    unit: str
    limit: list[float | None]
    headroom: list[float | None]
    share: list[float | None]
    exceedance: list[float | None]


class FleetMap(Provenance):
    """The fleet in columns, one value per entity."""

    confidence: float
    basis: Literal["quantile", "interpolated", "tail"]
    data_time: datetime | None
    age_s: float | None
    levels: list[Level]
    sources: list[Source]
    statuses: list[Status]
    entity_id: list[str]
    parent: list[int] = Field(description="index of each one's parent in these columns; -1 if it is not in them")
    level: list[int] = Field(description="index into levels")
    source: list[int] = Field(description="index into sources, the lowest rung over the stretch")
    status: list[int] = Field(description="index into statuses")
    targets: dict[Target, MapColumns]


class ObservedRow(BaseModel):
    """What was observed of an entity in one step: one number per signal, null where there is none."""

    model_config = ConfigDict(extra="allow")

    time: datetime
    entity_id: str
    __pydantic_extra__: dict[str, float | None]


class Observed(_Told):
    """Telemetry on the forecast's grid, repaired, as the model sees it."""

    forecast: str
    rows: list[ObservedRow] | None = None
    columns: dict[str, list[str | float | None]] | None = None
