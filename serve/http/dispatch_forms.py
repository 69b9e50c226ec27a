"""What the dispatch routes are asked and answer, as OpenAPI has it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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


class Chosen(BaseModel):
    """Which entities; all conditions hold together."""

    model_config = ConfigDict(extra="forbid")

    entity: list[Name] = Field([], max_length=1000, description="entities by name")
    level: Level | None = Field(None, description="only entities of this level of the tree")
    under: Name | None = Field(None, description="only this entity and all below it")


class Listing(Chosen):
    """Which entities, and how JSON lists them."""

    layout: Layout = Field("rows", description="whether JSON has an object per row or a list per column")


class Within(Listing):
    """Which entities, over which stretch of the horizon."""

    begin: str | None = Field(None, alias="from", description=f"first step: {_TIME}")
    until: str | None = Field(None, description=f"end of the last step: {_TIME}; the end of the forecast if none")
    target: list[Target] = Field([], max_length=2, description="forecast signals; all if none")
    allow_fallback: bool = Field(True, description="false: 503 unless the model speaks for all of them on fresh data")


class RowsAsked(Within):
    """Forecast rows."""

    quantile: list[float] = Field([], max_length=99, description="quantile levels; all of the forecast's if none")


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


class ObservedAsked(Listing):
    """What was observed."""

    entity: list[Name] = Field(min_length=1, max_length=100, description="entities by name")
    last: str = Field("P1D", max_length=40, description="how far back: an ISO 8601 duration")


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
    cycles: int
    cycle_s: float | None = Field(description="mean time from telemetry to forecast")


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
