"""What a person chooses about a simulated site. Physical numbers per SKU live in `skus`.

Not frozen: Hydra cannot compose over a frozen class.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo, available_timezones

from forecast.contracts.errors import ConfigError

DAY_S = 86_400
#: Physics advances at most this far at once, so that checkpoint dips and thermal lag survive inside a 5 min sample.
MAX_SUBSTEP_S = 60


@dataclass
class RowConfig:
    """One row of identical racks.

    Attributes:
        hall: name of its hall; rows are numbered within a hall in the order given.
        sku: a key of `skus.SKUS`.
        inference_ratio: share of the racks that hold inference services; the others take scheduled jobs.
        from_day: day of the record on which it comes into service, empty; 0 has been there all along.
    """

    hall: str
    sku: str
    racks: int
    servers_per_rack: int
    inference_ratio: float = 0.5
    from_day: int = 0


@dataclass
class ClimateConfig:
    """Outdoor conditions. The default is a humid subtropical coast: warm in winter, hot in summer [K].

    Attributes:
        seasonal_k: half the difference between the warmest and the coldest month.
        diurnal_k: half the difference between afternoon and dawn under a clear sky.
        synoptic_k: standard deviation of passing weather systems, over days.
        dew_depression_k: mean distance of the dew point below the air temperature.
    """

    mean_c: float = 24.0
    seasonal_k: float = 5.0
    diurnal_k: float = 4.5
    synoptic_k: float = 2.5
    dew_depression_k: float = 6.0


@dataclass
class WorkConfig:
    """How much work arrives.

    Attributes:
        training_load, batch_load: offered work over what the pool could do, in [0, 0.95].
        failures_per_gpu_h: 419 unexpected in 54 d on 16,384 GPUs (constants.md §4); raise it to see more restarts.
        overestimate: what owners ask for, over what they ask for by default: above 1, more jobs end early.
        start_delay_s: mean time by which a job starts later than its scheduler said when it placed it.
    """

    training_load: float = 0.75
    batch_load: float = 0.6
    failures_per_gpu_h: float = 2.0e-5
    overestimate: float = 1.0
    start_delay_s: float = 0.0


@dataclass
class CoolingConfig:
    """The cooling plant of each hall.

    Attributes:
        air_setpoint_c: supply air; with the rack approach of 4-5 K inlets stay inside ASHRAE 18-27 (constants.md §1).
        coolant_setpoint_c: facility water, within class W32 (constants.md §1); the CDU approach comes on top.
        capacity_ratio: rated cooling over the sum of server nameplates. Below 1 [D], as servers rarely reach their
            nameplate together; what is saved is paid on hot afternoons.
        free_cooling_wet_bulb_c: below it part of the heat bypasses the chillers, 4 K further down all of it [K].
    """

    air_setpoint_c: float = 23.0
    coolant_setpoint_c: float = 30.0
    capacity_ratio: float = 0.45
    free_cooling_wet_bulb_c: float = 10.0


@dataclass
class CapConfig:
    """A daily power cap on every die, between two local hours; a ratio of 1 is no cap."""

    ratio: float = 1.0
    start_hour: float = 16.0
    end_hour: float = 20.0


@dataclass
class EventConfig:
    """Something that happens to a site; `day` is one of the record, UTC, from 0 on."""

    day: int

    def __post_init__(self) -> None:
        _require(self.day >= 0, f"events: {self} begins before the record, whose first day is 0.")


@dataclass
class FirmwareConfig(EventConfig):
    """New firmware, from a day on: what a die of one SKU draws for the same work, over before."""

    sku: str
    power_ratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.power_ratio > 0, f"events.firmware: power_ratio is {self.power_ratio}; it must be above 0.")


@dataclass
class ChillerFailureConfig(EventConfig):
    """Chillers of one hall fail from `hour` (UTC) on; `capacity_ratio` is the share of its cooling that is left."""

    hall: str
    hours: float
    capacity_ratio: float = 0.5
    hour: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.hours > 0, f"events.chiller_failures: {self} is over at once; hours must be above 0.")
        _require(
            0 < self.capacity_ratio <= 1,
            f"events.chiller_failures: capacity_ratio is {self.capacity_ratio}; it must lie in (0, 1].",
        )


@dataclass
class SensorLossConfig(EventConfig):
    """A share of the servers, drawn at random, sends nothing for some days."""

    days: int
    share: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.days >= 1, f"events.sensor_losses: {self} is over at once; days start at 1.")
        _require(0 <= self.share <= 1, f"events.sensor_losses: share is {self.share}; it is from 0 to 1.")


@dataclass
class ExporterUpgradeConfig(EventConfig):
    """The exporter writes other column names (`faults.RENAMED`) for some days, until it is rolled back."""

    days: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.days >= 1, f"events.exporter_upgrades: {self} is over at once; days start at 1.")


@dataclass
class EventsConfig:
    """What changes in the world of a site, besides rows that come into service (`RowConfig.from_day`)."""

    firmware: list[FirmwareConfig] = field(default_factory=list)
    chiller_failures: list[ChillerFailureConfig] = field(default_factory=list)
    sensor_losses: list[SensorLossConfig] = field(default_factory=list)
    exporter_upgrades: list[ExporterUpgradeConfig] = field(default_factory=list)


def _demo_rows() -> list[RowConfig]:
    return [
        RowConfig(hall="hall-a", sku="h100-air", racks=4, servers_per_rack=4),
        RowConfig(hall="hall-a", sku="h100-air", racks=4, servers_per_rack=4),
        RowConfig(hall="hall-a", sku="gb200-tray", racks=3, servers_per_rack=18, inference_ratio=0.34),
        RowConfig(hall="hall-b", sku="cpu-2s", racks=3, servers_per_rack=16, inference_ratio=0.34),
    ]


@dataclass
class SimulatorConfig:
    """A site, its weather and work, the stretch of time to record, and what goes wrong with the record.

    Attributes:
        start: first UTC day, ISO.
        step_s: sample interval; divides a day, and is a multiple of 60 or below 60.
        faults: fault name (see `faults.FAULTS`) to its rate (see `injector`).
    """

    seed: int = 0
    start: str = "2026-01-05"
    days: int = 42
    step_s: int = 300
    site: str = "site-1"
    time_zone: str = "America/New_York"
    rows: list[RowConfig] = field(default_factory=_demo_rows)
    climate: ClimateConfig = field(default_factory=ClimateConfig)
    work: WorkConfig = field(default_factory=WorkConfig)
    cooling: CoolingConfig = field(default_factory=CoolingConfig)
    cap: CapConfig = field(default_factory=CapConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    faults: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.days >= 1, f"days is {self.days}; simulate at least 1.")
        _require(
            self.step_s >= 1 and DAY_S % self.step_s == 0 and self.step_s % self.substep_s == 0,
            f"step_s is {self.step_s}; it must divide a day and be a multiple of {MAX_SUBSTEP_S} or shorter than it.",
        )
        _require(_is_iso_day(self.start), f"start is {self.start!r}; write an ISO day such as 2026-01-05.")
        _require(
            self.time_zone in available_timezones(), f"time_zone is {self.time_zone!r}; it must be an IANA time zone."
        )
        _require(bool(self.rows), "rows is empty; a site needs at least one row of racks.")
        for row in self.rows:
            _require(
                row.racks >= 1 and row.servers_per_rack >= 1,
                f"rows: {row} is empty; racks and servers_per_rack start at 1.",
            )
            _require(
                0 <= row.inference_ratio <= 1, f"rows: inference_ratio is {row.inference_ratio}; it is from 0 to 1."
            )
            _require(row.from_day >= 0, f"rows: from_day is {row.from_day}; the first day of the record is 0.")
        _require(
            any(row.from_day == 0 for row in self.rows),
            "rows: none is there from the first day on; one needs from_day 0.",
        )
        for name in ("training_load", "batch_load"):
            load = getattr(self.work, name)
            _require(0 <= load <= 0.95, f"work.{name} is {load}; queues only stay finite within 0 and 0.95.")
        _require(self.work.overestimate >= 1, f"work.overestimate is {self.work.overestimate}; it is 1 or more.")
        _require(self.work.start_delay_s >= 0, f"work.start_delay_s is {self.work.start_delay_s}; it is 0 or more.")
        _require(0 < self.cap.ratio <= 1, f"cap.ratio is {self.cap.ratio}; it must lie in (0, 1].")

    @property
    def substep_s(self) -> int:
        """Length of one physical step in seconds."""
        return min(self.step_s, MAX_SUBSTEP_S)

    @property
    def origin(self) -> datetime:
        """The first instant recorded, UTC; all simulation times are seconds from here."""
        day = date.fromisoformat(self.start)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    @property
    def end_s(self) -> int:
        """Seconds from `origin` to the end of the record."""
        return self.days * DAY_S

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.time_zone)


def _require(holds: bool, message: str) -> None:
    """Refuse what does not hold; `message` begins with the key of what is wrong."""
    if not holds:
        raise ConfigError(f"source.fleet.{message}")


def _is_iso_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
