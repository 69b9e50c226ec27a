"""`python -m serve`: forecasts from a published bundle."""

import argparse
import sys
from pathlib import Path

from forecast.contracts.errors import FAILURES, DataError, ExitCode, tell
from forecast.contracts.schedule import LIVE
from forecast.contracts.specs import FUTURE
from forecast.traces.trace import parse_utc
from serve.batch import (
    check_out,
    imposes_nothing,
    read_adaptation,
    read_known_ahead,
    read_telemetry,
    write_adaptation,
    write_forecast,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _forecast(options)
    except FAILURES as error:
        return tell(error, options.telemetry)


def _forecast(options: argparse.Namespace) -> int:
    # Late, so that --help and a mistyped option need no ONNX Runtime.
    from forecast.bundle.load import load  # noqa: PLC0415
    from forecast.predictor import Predictor  # noqa: PLC0415
    from forecast.tables import console  # noqa: PLC0415
    from serve.summary import print_summary  # noqa: PLC0415

    check_out(options.out)
    bundle = load(options.bundle)
    telemetry = read_telemetry(options.telemetry, bundle.manifest)
    at = parse_utc(options.at) if options.at else None
    jobs, weather = read_known_ahead(options.jobs, options.weather, bundle.manifest)
    for option, source, table in (("--jobs", "schedule", jobs), ("--weather", "weather", weather)):
        missing = [name for name in bundle.manifest.spec.future if FUTURE[name].source == source and table is None]
        if missing:
            print(f"note: without {option} the forecast knows no {', '.join(missing)}", file=sys.stderr)
    if jobs is not None and imposes_nothing(jobs):
        none = f"no plan or cap is {', '.join(LIVE)}"
        print(f"note: {options.jobs} imposes nothing: {none}", file=sys.stderr)
    state = read_adaptation(options.adaptation, bundle.manifest)
    forecast = Predictor(bundle, adaptation=state).told(jobs, weather).forecast(telemetry, at, options.telemetry)
    if set(forecast.status) == {"no_data"}:
        raise DataError(
            f"{options.telemetry}: nothing was observed in the context before {forecast.time:%Y-%m-%d %H:%M} UTC."
        )
    write_forecast(forecast.table(), options.out)
    if state is not None:
        write_adaptation(state, options.adaptation)
    print_summary(forecast, bundle, options.out, console())
    return ExitCode.PUBLISHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serve", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    forecast = commands.add_parser(
        "forecast",
        help="one forecast of the whole fleet, from telemetry in files",
        description="Forecast every entity of a bundle's fleet from recent telemetry, and write one row per entity "
        "and step: quantiles of load and temperature, headroom, exceedance, and where each came from.",
        epilog="example: python -m serve forecast --bundle var/registry/day-ahead/current "
        "--telemetry telemetry/ --out forecasts.parquet",
    )
    forecast.add_argument("--bundle", type=Path, required=True, help="folder of a published bundle, e.g. .../current")
    forecast.add_argument(
        "--telemetry",
        required=True,
        help="Parquet (file, folder or glob), CSV or TSV (file or glob) with columns time, entity_id and the signals; "
        "or in the form of the files the bundle was trained on",
    )
    for option, table in (("--jobs", "job schedule"), ("--weather", "weather")):
        forecast.add_argument(
            option,
            help=f"for a bundle that looks at it: the {table}, with the columns of its contract or in the form of the "
            f"files the bundle was trained on",
        )
    forecast.add_argument(
        "--adaptation",
        type=Path,
        help="a file that remembers recent forecasts from run to run (.npz, made where there is none): what came of "
        "them moves the quantiles of this one, so that intervals hold what they promise while loads drift",
    )
    forecast.add_argument("--out", type=Path, required=True, help="where to write: .parquet or .csv")
    forecast.add_argument(
        "--at",
        help="forecast time, ISO, UTC unless it says otherwise; rounded down to the grid; default: after the "
        "newest complete step",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
