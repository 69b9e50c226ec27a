"""Where a fleet's schedule and weather lie, beside its telemetry: settings that any source can carry."""

from dataclasses import asdict, dataclass, field
from typing import Any

from forecast.contracts.errors import ConfigError


@dataclass
class SlurmSpec:
    """How Slurm's accounting becomes a schedule.

    Attributes:
        entity: an entity's id, made of the node's name: `{node}`.
        power_per_gpu_w: type of GPU as in the accounting's TRES (`h100` of `gres/gpu:h100`) to the power one draws in a
            job; `default` for GPUs without a type. A job with GPUs of no known power is of unknown power.
        power_per_cpu_w: what each CPU of a job adds.
        delay_s: from an event to its row in the accounting.
        reservations: a file with what `scontrol show reservation` printed; its maintenance counts.
        reservations_known_at: when it was printed, an ISO time: Slurm does not say since when a reservation is known.
    """

    entity: str = "{node}"
    power_per_gpu_w: dict[str, float] = field(default_factory=dict)
    power_per_cpu_w: float = 0.0
    delay_s: float = 60.0
    reservations: str | None = None
    reservations_known_at: str | None = None

    def __post_init__(self) -> None:
        told = {f"power_per_gpu_w.{kind}": power_w for kind, power_w in self.power_per_gpu_w.items()}
        told |= {name: getattr(self, name) for name in ("power_per_cpu_w", "delay_s")}
        for name, value in told.items():
            if not value >= 0:
                raise ConfigError(f"source.jobs.slurm.{name} is {value:g}; it must not be below 0.")


@dataclass
class JobsSpec:
    """A job schedule in files.

    Attributes:
        path: as of a file source. With `slurm`, what `sacct --parsable2 --allusers --duplicates` printed with at least
            the fields JobID, State, Start, End, Timelimit, NodeList and AllocTRES (ending .txt, .csv or .tsv).
        columns: contract column to the file's column; empty when the file has the contract's names already.
        units: `planned_power_w` to its unit in the file.
        time_zone: zone of times that carry none.
        slurm: set when the files are Slurm's.
    """

    path: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    time_zone: str | None = None
    slurm: SlurmSpec | None = None


@dataclass
class WeatherSpec:
    """Weather in files, with or without the times of its forecasts.

    Attributes:
        path: as of a file source.
        columns: `site`, `valid_time`, `issue_time`, `available_at`, `outdoor_c`, `wet_bulb_c` or
            `humidity_percent` to the file's column; empty when the file has the contract's names already. Without
            `issue_time` every row is an observation.
        units: temperature to its unit in the file.
        time_zone: zone of times that carry none.
        site: the site of all rows, where no column tells.
        sites: the file's name of a place to the fleet's sites; empty when they are the same.
        delay_s: from issue to availability, where no column tells; an observation of an hour is there at its end.
        perfect_forecast_h: for experiments: an observation counts as known so many hours ahead. Above 0 no score is
            honest, and the bundle says so.
    """

    path: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    time_zone: str | None = None
    site: str | None = None
    sites: dict[str, str] = field(default_factory=dict)
    delay_s: float | None = None
    perfect_forecast_h: float = 0.0


def beside(spec: JobsSpec | WeatherSpec) -> dict[str, Any]:
    """Everything but where the files are, as plain data: what a bundle keeps to read their like."""
    kept = {name: value for name, value in asdict(spec).items() if name != "path"}
    if kept.get("slurm"):
        kept["slurm"] |= {"reservations": None, "reservations_known_at": None}
    return kept


def jobs_like(kept: dict[str, Any] | None, path: str) -> JobsSpec:
    """Settings for files at `path` that are like those of which `beside` kept the rest; None keeps the contract."""
    spec = JobsSpec(**{**(kept or {}), "path": path})
    if isinstance(spec.slurm, dict):
        spec.slurm = SlurmSpec(**spec.slurm)
    return spec


def weather_like(kept: dict[str, Any] | None, path: str) -> WeatherSpec:
    """As `jobs_like`, for weather. What was observed is not known ahead, whatever an experiment assumed."""
    return WeatherSpec(**{**(kept or {}), "path": path, "perfect_forecast_h": 0.0})
