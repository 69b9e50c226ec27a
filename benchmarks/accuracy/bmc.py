"""Task C's telemetry in a form that any file source reads: each run of the thermal experiments is a machine of its own.

Runs are told apart by name and moved to one common beginning, so that a range of validation or test is a set of runs,
as a file of origins says it.
"""

from pathlib import Path

import polars as pl

from forecast.contracts.schedule import PLAN
from forecast.contracts.tables import JOB_SCHEDULE

#: Where every run begins, on a clock that means nothing.
BEGIN = "2024-01-01T00:00:00Z"

STEP_S, CONTEXT, HORIZON, STRIDE = 15, 40, 40, 10

#: One in four runs, in the order of their names, is tested; the one after it validates.
_EVERY = 4


def write(raw: Path, folder: Path) -> None:
    """Write `telemetry.parquet`, `topology.parquet`, `origins.csv`, and as `plans.parquet` what came, known beforehand.

    Args:
        raw: `bmc_sensors.parquet`: two CPUs' temperatures, power supplies and inlets, every 10 to 30 s.
        folder: where to.
    """
    sensors = pl.read_parquet(raw).sort("run_id", "timestamp")
    since = pl.col("timestamp") - pl.col("timestamp").first().over("run_id")
    rows = sensors.select(
        "run_id",
        "cpu1_temp_c",
        "cpu2_temp_c",
        time=pl.lit(BEGIN).str.to_datetime(time_zone="UTC") + since,
        power_w=pl.sum_horizontal("psu1_power_w", "psu2_power_w"),
        inlet_c="psu2_inlet_temp_c",  # the better ambient: the other sits inside the chassis
        fan_speed_rpm=pl.mean_horizontal(f"fan{fan}_rpm" for fan in (1, 2, 3, 4)),  # all turn alike
    )
    shared = ("time", "power_w", "inlet_c", "fan_speed_rpm")
    cpus = [rows.select(*shared, entity_id=_named(cpu), temperature_c=f"cpu{cpu}_temp_c") for cpu in (1, 2)]
    folder.mkdir(parents=True, exist_ok=True)
    telemetry = pl.concat(cpus).sort("entity_id", "time")
    telemetry.write_parquet(folder / "telemetry.parquet")
    _plans(telemetry).write_parquet(folder / "plans.parquet")
    runs = sensors.group_by("run_id", maintain_order=True).agg(
        last=(pl.col("timestamp").max() - pl.col("timestamp").min())
    )
    _topology(runs["run_id"]).write_parquet(folder / "topology.parquet")
    _origins(runs).write_csv(folder / "origins.csv")


def _plans(telemetry: pl.DataFrame) -> pl.DataFrame:
    """Power and fans as a schedule imposed before every run: each sample holds until the next, a minute at most."""
    until = pl.min_horizontal(pl.col("time").shift(-1).over("entity_id"), pl.col("time") + pl.duration(minutes=1))
    row = pl.int_range(pl.len()).over("entity_id")
    plans = telemetry.select(
        "entity_id",
        job_id=pl.format("{}/{}", "entity_id", row),
        kind=pl.lit(PLAN),
        status=pl.lit("reserved"),
        start_time="time",
        end_time=until.fill_null(pl.col("time") + pl.duration(seconds=STEP_S)),
        planned_power_w="power_w",
        planned_fan_speed_rpm="fan_speed_rpm",
        available_at=pl.lit(BEGIN).str.to_datetime(time_zone="UTC") - pl.duration(hours=1),
    )
    return plans.filter(pl.col("end_time") > pl.col("start_time")).select(
        *JOB_SCHEDULE.required, *JOB_SCHEDULE.optional
    )


def _named(cpu: int) -> pl.Expr:
    return pl.format("{}-cpu{}", "run_id", pl.lit(cpu))


def _topology(runs: pl.Series) -> pl.DataFrame:
    """The limits are those of no data sheet: 95 °C and 1 kW bound what was measured."""
    return pl.DataFrame({"entity_id": [f"{run}-cpu{cpu}" for run in runs for cpu in (1, 2)]}).with_columns(
        parent_id=pl.lit(None, pl.String),
        level=pl.lit("server"),
        sku=pl.lit("dual-socket"),
        power_limit_w=1000.0,
        temperature_limit_c=95.0,
        site=pl.lit("laboratory"),
        time_zone=pl.lit("UTC"),
    )


def _origins(runs: pl.DataFrame) -> pl.DataFrame:
    """Every tenth step of the runs that validate and test, whole windows only, in the columns of a file of origins."""
    part = pl.int_range(pl.len()) % _EVERY
    steps = pl.col("last").dt.total_seconds() // STEP_S + 1
    chosen = runs.with_columns(
        steps=steps, split=pl.when(part == 0).then(pl.lit("test")).when(part == 1).then(pl.lit("val"))
    )
    windows = (
        chosen.drop_nulls("split")
        .with_columns(origin=pl.int_ranges(CONTEXT, pl.col("steps") - HORIZON + 1, STRIDE))
        .explode("origin")
        .drop_nulls("origin")
    )
    time = pl.lit(BEGIN).str.to_datetime(time_zone="UTC") + pl.duration(seconds=pl.col("origin") * STEP_S)
    local = time.dt.strftime("%Y-%m-%d %H:%M:%S")
    return pl.concat(
        [windows.select(_named(cpu).alias("entity_id"), "split", forecast_time_local=local) for cpu in (1, 2)]
    )
