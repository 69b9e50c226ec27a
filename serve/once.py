"""`python -m serve forecast`: one forecast of the whole fleet, from telemetry in files or of a source, into a file."""

import argparse
import sys
from datetime import timedelta

import polars as pl

from forecast.bundle.load import load
from forecast.contracts.errors import DataError, ExitCode
from forecast.contracts.specs import FUTURE, ForecastSpec
from forecast.features.units import jobs_like_kw
from forecast.predictor import Forecast, Predictor
from forecast.tables import console
from forecast.traces.kinds import read_source
from forecast.traces.trace import parse_utc
from forecast.wording import counted
from serve.batch import (
    ahead_of,
    check_out,
    read_adaptation,
    read_ahead,
    read_recent,
    read_telemetry,
    write_adaptation,
    write_forecast,
)
from serve.imposed import doubts, entangled, imposed, out_of_reach, passed_over, set_aside, silent
from serve.summary import print_summary


def run(options: argparse.Namespace) -> ExitCode:
    """Forecast, write, and print what stands out.

    Raises:
        FleetcastError, OSError, PolarsError: what `forecast.contracts.errors.tell` tells.
    """
    check_out(options.out)
    source = read_source(options.source) if options.source else None
    if source is not None:
        source.check()
    bundle = load(options.bundle)
    at, where = parse_utc(options.at, "--at") if options.at else None, str(options.source or options.telemetry)
    if source is None:
        telemetry = read_telemetry(options.telemetry, bundle.manifest)
    else:
        telemetry = read_recent(source, bundle.manifest, at)
    jobs, weather = read_ahead(*ahead_of(options.jobs, options.weather, source, bundle.manifest))
    _note_unknown(bundle.manifest.spec, jobs, weather)
    told = None if jobs is None else imposed(jobs)
    if jobs is not None and told is not None:
        tree = bundle.manifest.topology
        for doubt in (*doubts(told, tree), *jobs_like_kw(jobs, tree), *passed_over(told, bundle.manifest.spec)):
            _note(f"{options.jobs or where} {doubt}")
    state = read_adaptation(options.adaptation, bundle.manifest)
    if state is not None and state.now_s is None and options.adaptation.exists():
        _note(f"{options.adaptation} is of another bundle than {bundle.manifest.bundle_id}: adaptation begins anew")
    predictor = Predictor(bundle, adaptation=state).told(jobs, weather)
    for line in set_aside(predictor.ahead.set_aside):
        _note(line)
    forecast = predictor.forecast(telemetry, at, where)
    for line in silent(predictor.ahead, forecast.time):
        _note(f"{options.jobs or where} {line}")
    if told is not None:
        _note_plans(told, forecast, options.jobs or where)
    _note_strangers(telemetry if at is None else telemetry.filter(pl.col("time") < at), forecast, where)
    if set(forecast.status) == {"no_data"}:
        raise DataError(f"{where}: nothing was observed in the context before {forecast.time:%Y-%m-%d %H:%M} UTC.")
    write_forecast(forecast.table(), options.out)
    if state is not None:
        write_adaptation(state, options.adaptation)
    print_summary(forecast, bundle, options.out, console())
    return ExitCode.PUBLISHED


def _note_unknown(spec: ForecastSpec, jobs: pl.LazyFrame | None, weather: pl.LazyFrame | None) -> None:
    """Say what the bundle looks at and nobody tells it."""
    for option, kind, table in (("--jobs", "schedule", jobs), ("--weather", "weather", weather)):
        missing = [name for name in spec.future if FUTURE[name].source == kind and table is None]
        if missing:
            _note(f"without {option} the forecast knows no {', '.join(missing)}")


def _note_plans(told: pl.DataFrame, forecast: Forecast, where: str) -> None:
    """Say what of the plans the forecast does not follow, and whom they leave as they were."""
    ahead = timedelta(seconds=forecast.spec.step_s * forecast.spec.horizon_steps)
    for line in (
        *entangled(told, forecast.topology, forecast.spec, forecast.time),
        *out_of_reach(told, forecast.time, forecast.time + ahead),
    ):
        _note(f"{where} {line}")


def _note_strangers(telemetry: pl.LazyFrame, forecast: Forecast, where: str) -> None:
    """Say whom telemetry tells of, from the day before the forecast on, and its fleet lacks: renamed, or new."""
    recent = pl.col("time") > forecast.time - timedelta(days=1)
    known = pl.col("entity_id").is_in(forecast.topology.entities)
    names = telemetry.filter(recent, ~known).select(pl.col("entity_id").unique().sort()).collect()["entity_id"]
    if not names.is_empty():
        lacks = counted(len(names), "entity", "entities")
        _note(f"{where} tells of {lacks} that the bundle's fleet lacks, the first {names[0]!r}")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
