"""What the dispatch routes answer, as OpenAPI has it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["gpu", "server", "rack", "row", "hall", "site", "fleet"]
Target = Literal["power_w", "temperature_c"]
Source = Literal["model", "last_good", "seasonal", "training", "safe_bound"]
Status = Literal["ok", "new", "sparse", "partial", "stale", "no_data"]


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


class _Row(_Told):
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


class PlacementRow(_Told):
    """What a candidate would leave, over its own steps."""

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
