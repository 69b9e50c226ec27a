"""What the dispatch routes are asked, as OpenAPI has it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.http.dispatch_replies import Level, Target

Layout = Literal["rows", "columns"]

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
